"""How a model learns: pictures in, steps, and what a run leaves on the disk.

    pictures ─► crops ─► step ─► backend_tensorflow | backend_jax ─► trainer ─► loop ─► checkpoints

    settings    what is asked for           outline      what a model can be asked for
    run         from there to an export
    pictures    found and decoded           records      the same in TFRecord files
    crops       what a step sees            step         what it computes, of values
    losses      what is minimised           optimizer    Muon and Adam      schedule  their rate
    backends    which of Keras' it is; each compiles the step and spreads it over devices
    trainer     a run's state               loop         around it          validation, run_log
    checkpoint  whole folders or none       weights      given to a model, made to travel

One direction: a step knows no backend, a backend no trainer, a trainer no loop. All numbers of a
step follow from seed and step alone, so that a continued run needs to know nothing else.

Rules. May import: models and below; `exports`, for weights to start from and the export at the end.
Imported by its command alone. Importing the room, `settings`, `run` or `pictures` imports neither
Keras nor TensorFlow; the latter is in `backend_tensorflow` alone. Never knows: the codec, .tfcd
files, the command line (but the names of flags in its sentences).
"""

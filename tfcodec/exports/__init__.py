"""A trained model on disk, written once and never changed.

An export is a folder:

    NAME/1/           the SavedModel, as TF Serving expects it; 1 is its version
    NAME/config.json  what it is: fingerprint, steps, qualities, measured points, weights' places
    NAME/card.md      what a person should know of it

It holds the functions that the walk of `entropy.walk` needs, for any height and width, batch 1:
`to_y(x uint8, rung) -> y`, `to_latents(y) -> latents`, one a step,
`steps[k](state, symbols) -> state, mu, indexes`, `finish(state, symbols) -> y_hat`,
`synthesis(y_hat, rung) -> uint8`, `estimate(latents) -> bits` of the model itself. Where
config.json says that a step's `coding` is "mixture", its indexes are the integer parameters of
`coding.mixtures`; where it says `wavefront`, the step is the last and repeats, see
`coding.wavefront`. Encoder and decoder run the very same compiled steps. The coding tables are
integers, made once here and never derived again. Large pictures pass `to_y` and `synthesis` in the
tiles of `tiles`, by the margins that config.json holds as `tiling`.

    installed   found by name, by folder, by the fingerprint in a file
    loaded      a SavedModel as the walk's model, tile by tile
    functions   those of a SavedModel, each loaded when it is first called
    litert      the same of LiteRT's networks, without TensorFlow
    runtimes    which of the two computes; structures: what they take and give
    remembered  what this machine has proven of an export
    weights     as they are stored, and back
    write       the folder; graph: the functions in it; tiles: what a tile must see
    rebuild     the Keras model again

Rules. May import: what is below, models only to write and to rebuild one. Imported by the codec,
freezing, conversion, training, serving, evaluation and the commands. Importing it imports neither
TensorFlow nor Keras (but `functions`, which imports TensorFlow, `graph` and `rebuild`), and using
an export needs no code of its model. Never knows: files of pictures, the .tfcd file.
"""

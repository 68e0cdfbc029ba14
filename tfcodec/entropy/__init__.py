"""What a model believes of its latents, and the one walk over them.

    walk          the steps in coding order, and the visitors that code them
    rate          the visitor that sums bits      quantize   rounding and noise in training
    density       what a network has to say of latents: gaussian, mixture; factorized is learned
    channelwise, quadtree                         steps, each given earlier ones
    latents/      the coders: what a codec is made of between its transforms
    chains        their networks, as freezing sees them

Rules. May import: layers, coding; keras.ops, no TensorFlow; `walk` needs no Keras. Imported by
exact, models and above. Never knows: models, pictures, files.
"""

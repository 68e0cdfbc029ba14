"""What a model believes of its latents, and the one walk over them.

    walk          the steps in coding order, and the visitors that code them
    rate          the visitor that sums bits      quantize   rounding and noise in training
    factorized, gaussian, mixture                 densities
    channelwise   slices, each given earlier ones
    chains        its networks, as freezing sees them

Rules. May import: layers, coding; keras.ops, no TensorFlow; `walk` needs no Keras. Imported by
exact, models and above. Never knows: models, pictures, files.
"""

"""tfcodec: a learned image codec for TensorFlow and Keras 3.

Compress an image array to bytes and back with `compress` and `decompress`; `load` gives the codec
of one trained model. Importing this package imports neither TensorFlow nor Keras: they come with
the first use of a function that needs them.
"""

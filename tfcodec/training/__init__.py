"""How a model becomes a trained one: steps, their loop, and what a run leaves on the disk.

Rules. May import: models and below; exports, to start from the weights of one. Imported by its
command alone. Never knows: the codec, files of compressed pictures.
"""

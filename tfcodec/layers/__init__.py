"""What any network may use: one idea a file.

Rules. May import: Keras, and its own room. Imported by entropy, exact and models. Never knows:
entropy models, coding, files; which model it serves.
"""

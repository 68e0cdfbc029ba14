"""The same integers everywhere: what freezing makes of the networks before a table index.

    specification  what is computed, in numpy's int64
    layers         the same at the speed of matrix products, and how a network becomes it
    proof          what a frozen model shows of itself when a machine first loads it

Rules. May import: entropy, layers, coding; `specification` and `proof` need no Keras. Imported by
exports and above. Never knows: models; files.
"""

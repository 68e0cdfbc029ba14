"""The same integers everywhere: what freezing makes of the networks before a table index.

    specification  what is computed, in numpy's int64; phases: of transposed convolutions
    rounding       which integers: those whose errors make up for each other
    layers         the same at the speed of matrix products
    freezing       how a network becomes these layers, after calibration on pictures
    proof          what a frozen model shows of itself when a machine first loads it

Rules. May import: entropy, layers, coding; `layers` and `freezing` alone need Keras. Imported by
exports and above. Never knows: models; files.
"""

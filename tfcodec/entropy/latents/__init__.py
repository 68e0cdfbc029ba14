"""How latents are coded: the steps of the walk, and all that they need. One of these is the middle
of each codec.

    coder        `LatentCoder`, the interface, and `FactorizedLatents`
    hyperprior   `HyperpriorLatents`, and `ContextLatents` with a ChARM or a quadtree
    octave       `OctaveLatents`, of two resolutions
    wavefront    `WavefrontLatents`, a context model of mixtures

Rules are those of `entropy`; nothing there imports this.
"""

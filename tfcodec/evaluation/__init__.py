"""Codecs measured beside each other, with real files, really decoded.

    contenders  who takes part          worker      one half of a codec, in a process of its own
    run         what is measured        summary     what evaluation.json holds
    curves      ours and published      comparison  tables and figure     report  the page

Rules. May import: `codec`, exports, pictures, metrics, quality. Imported by its commands alone.
Never knows: training; how a codec works inside.
"""

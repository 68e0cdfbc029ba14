"""All of the codec again, inside a graph: file bytes in, pictures out, on an unmodified TF Serving.

`export.export` writes a folder that is an export like any other, with signatures beside the steps:

    decode (default)  files_bytes [B]                 -> png_bytes [B], error [B]
    encode            images_bytes [B], quality [B]   -> files_bytes [B], error [B]
    decode_one        files_bytes []                  -> png_bytes []
    encode_one        images_bytes [], quality []     -> files_bytes []

The first two never raise: a server merges requests, and a bad one must not fail the others; its
picture is empty and its `error` a sentence. The last two raise InvalidArgument. All of it is stock
TensorFlow: the walk with the exported steps, traced into one graph. docs/serving.md is for those
who run it.

Twins are named alike, and a test proves each equal to its original:

    walk        entropy.walk               container   coding.container
    pictures    pictures                   coder       coding.range_coder
    signatures  codec                      mixtures    coding.mixtures

Rules. May import: what is below, `codec` included; TensorFlow. Imported by its command alone.
Never knows: training, and models but by their exports.
"""

"""The numbers of the `.tfcd` format, each of them once; docs/FORMAT.md says what they mean.

Two releases that differ in one of them do not understand each other's files. Imports nothing.
"""

MAGIC = b"tfcd"
VERSION = 2

# Coders, and lanes: independent streams of one file.
TFC, RANGE_CODER = 0, 1
CODER_NAMES = ("tfc", "range-coder")
MAX_LANES = 1024
# Most symbols of a lane for servers: 768x512 pixels of 300,000 symbols then have 64 lanes, which
# stock operations decode in about 5,000 turns of a loop.
SERVING_SYMBOLS = 8192

# Symbols and escapes fit 16 bits with their sign; encoders clamp to this. 2^15 on either side of mu
# is far beyond any trained model.
MAX_SYMBOL = 32767
MAX_QUOTIENT = 255  # of a Rice code: bounds the work that few bytes can ask for
MAX_RICE = 31
CHECKSUM_MIX = (0x9E3779B1, 0x2C1B3C6D)  # odd; the second below 2^31, for products in int64

QUALITY_STEPS = 32  # in a unit of quality: the byte in the file is 32 (quality - 1)
PROFILE_FLOAT32 = 0  # arithmetic profile: float32 on the CPU device, not portable between machines

# What is refused before anything is allocated.
# The default model takes some 40 bytes of memory a pixel (benchmarks/large.py): 5 GB for so many.
DEFAULT_MAX_PIXELS = 2**27
# Models pad sides to multiples of up to 128: a line of pixels costs what a band costs. Whatever the
# limit, a band of so many pixels is no harm.
PADDED_SIDE, SMALL_PIXELS = 128, 2**22
MAX_BYTES_PER_PIXEL = 16  # no sound file comes near
SPARE_BYTES = 2**20  # of which a small picture may take more
MAX_METADATA = 2**19  # bytes of the part, and of what it inflates to


def padded(side: int, stride: int) -> int:
    """A side of a picture as a model of that stride sees it: the next multiple of the stride."""
    return -(-side // stride) * stride

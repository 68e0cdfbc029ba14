"""Coverage-guided fuzzing of what reads files: container, side list, alpha, metadata and coders.

    pip install 'tfcodec[fuzz]'
    python tests/fuzz.py CORPUS -max_total_time=600        # libFuzzer's flags

The first byte of an input chooses what reads the rest. Every reader must end in its result or in a
`ContainerError` of one sentence, and what it accepts must mean the same when it is written and read
again. `tests/data/fuzz.zip` holds the inputs that reached new code, and all that ever failed;
`tests/test_robustness.py` replays them. CORPUS is a folder that begins with them; `--keep CORPUS`
puts the inputs of a corpus in their place.
"""

import functools
import importlib.util
import io
import os
import pathlib
import struct
import sys
import zipfile
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

KEPT = pathlib.Path(__file__).parent / "data" / "fuzz.zip"
PACKAGES = ("tfcodec.coding", "tfcodec.pictures", "tfcodec.errors", "tfcodec.coding.mixtures")
NAME = "k.tfcd"
MAX_PIXELS = 64 * 64
LIMITS = ("-max_len=4096", "-timeout=20", "-rss_limit_mb=4096", "-malloc_limit_mb=512")


def check(data):
    """Has the reader that the first byte names read the rest. Raises AssertionError, or whatever
    should not have escaped the reader."""
    from tfcodec.errors import ContainerError

    if not data:
        return
    try:
        READERS[data[0] % len(READERS)](data[1:])
    except ContainerError as error:
        sentence = str(error)
        assert sentence.startswith(f"{NAME}: ") and "\n" not in sentence, sentence


def _container(data):
    from tfcodec.coding import container

    found = container.unpack(data, NAME, MAX_PIXELS)
    assert found.height * found.width <= MAX_PIXELS
    again = container.unpack(container.pack(found), NAME, MAX_PIXELS)
    assert again == found, "what was read does not survive being written"
    if found.alpha is not None:
        _alpha_of(found.alpha, found.height, found.width)
    if found.metadata is not None:
        _metadata_of(found.metadata)


def _sealed_container(data):
    """As a forger would: a right beginning and a right CRC-32."""
    from tfcodec.coding.format import MAGIC, VERSION

    data = MAGIC + bytes([VERSION]) + data
    _container(data + struct.pack("<I", zlib.crc32(data)))


def _alpha(data):
    """A PNG of right header, chunks and checksums around hostile contents, cut at zero bytes."""
    import drawn

    if len(data) < 3:
        return
    height, width, kinds = 1 + data[0] % 64, 1 + data[1] % 64, data[2]
    chunks = [(b"IHDR", drawn.png_header(width, height, 8, 0))]
    for k, body in enumerate(data[3:].split(b"\0\0\0\0")[:8]):
        body = zlib.compress(body) if kinds >> k & 1 else body
        chunks.append((b"IDAT", body))
    _alpha_of(drawn.png_file(*chunks), height, width)


def _alpha_of(png, height, width):
    from tfcodec import pictures

    alpha = pictures.alpha_from_png(png, height, width, NAME)
    assert alpha.shape == (height, width)


def _metadata(data):
    """A zlib stream of hostile contents, or hostile bytes in its place."""
    if data:
        _metadata_of(zlib.compress(data[1:]) if data[0] % 4 else data[1:])


def _metadata_of(part):
    from tfcodec import pictures
    from tfcodec.coding.format import MAX_METADATA

    found = pictures.metadata_from_bytes(part, NAME)
    assert 0 < len(found.exif) + len(found.xmp) <= MAX_METADATA
    again = pictures.metadata_to_bytes(found)
    assert pictures.metadata_from_bytes(again, NAME) == found
    upright, orientation = pictures.metadata_of_file(found.exif, found.xmp)
    assert 1 <= orientation <= 8
    if upright is not None:
        assert pictures.metadata_of_file(upright.exif, upright.xmp) == (upright, 1)


def _escapes(data):
    from tfcodec.coding import container

    values = container._unpack_escapes(data, NAME)
    assert container._pack_escapes(values) == data
    _decode(0, (b"\1\2\3",), values, 6)


def _range_coder(data):
    """Lanes of hostile bytes, the first of them saying how many and how long."""
    if len(data) < 3:
        return
    lanes, cut, count = 1 << data[0] % 7, data[1], 8 * data[2]
    streams = [data[3 + cut * k : 3 + cut * (k + 1)] for k in range(lanes - 1)]
    streams.append(data[3 + cut * (lanes - 1) :])
    _decode(0, tuple(streams), (7, -300) * (cut % 5), count)


def _reference_coder(data):
    if data and importlib.util.find_spec("range_coder"):  # not for every Python
        _decode(1, (data[1:],), (7, -300) * (data[0] % 5), 4 * data[0])


_TABLES = []


def _decode(coder, streams, escapes, count):
    """Decodes in three steps of different rows; the symbols must be those that tables and escapes
    allow."""
    import numpy as np

    from tfcodec.coding import CodingTables, open_decoder
    from tfcodec.coding.format import MAX_SYMBOL

    if not _TABLES:
        sharp, flat = np.array([1, 60, 900, 50, 2, 1.0]), np.ones(300)
        _TABLES.append(CodingTables.build([(sharp, -2), (flat, -150), (np.ones(1), 0)]))
    decoder = open_decoder(coder, _TABLES[0], streams, escapes, NAME)
    for step, row in enumerate((1, 2, 3)):
        indexes = np.full([1, count], row, np.int32)
        indexes[:, ::3] = 1
        symbols = decoder.read(indexes)
        assert symbols.shape == indexes.shape and symbols.dtype == np.int32
        assert np.abs(symbols).max(initial=0) <= MAX_SYMBOL, step
    decoder.finish()


@functools.cache
def _mixture_prior():
    """(tables of binary decisions, a prior of 5 mixtures of all widths)."""
    import numpy as np

    from tfcodec.coding import CodingTables
    from tfcodec.coding.mixtures import MixturePrior, binary_rows
    from tfcodec.entropy import mixture

    random = np.random.default_rng(0)
    raw = np.float32(random.normal(0, 3, [1, 1, 5, mixture.NUMBERS]))
    return CodingTables.build(binary_rows()), MixturePrior(
        np.array(mixture.Mixture(raw, 1).indexes()), 1
    )


def _mixtures(data):
    import numpy as np

    from tfcodec.coding import open_decoder
    from tfcodec.coding.format import MAX_SYMBOL

    tables, prior = _mixture_prior()
    decoder = open_decoder(0, tables, (data,), (), NAME)
    for _ in range(3):
        symbols = prior.decode((1, 1, 5, 1), decoder)
        assert symbols.dtype == np.int32 and np.abs(symbols).max() <= MAX_SYMBOL
    decoder.finish()


READERS = (
    *(_container, _sealed_container, _alpha, _escapes),
    *(_range_coder, _reference_coder, _mixtures, _metadata),
)

# ------------------------------------------------------------------------------------- the corpus


def seeds():
    """Small sound inputs, one or more for each reader."""
    from tfcodec.coding import container

    def file(**changes):
        fields = dict(fingerprint=b"abcd", profile=0, quality=9, height=9, width=7, gray=False)
        fields |= dict(coder=0, streams=(b"stream",), escapes=(), alpha=None, checksum=5)
        return container.pack(container.Container(**{**fields, **changes}))

    import drawn
    import numpy as np

    from tfcodec import pictures

    alpha = pictures.alpha_to_png(np.uint8(np.add.outer(np.arange(9), np.arange(7)) * 9))
    lanes = tuple(b"lane" * k for k in range(8))
    metadata = pictures.metadata_to_bytes(pictures.Metadata(exif=b"E" * 9, xmp=b"<x/>"))
    files = [file(), file(gray=True, escapes=(1, -400)), file(alpha=alpha), file(streams=lanes)]
    files.append(file(metadata=metadata))
    yield from (b"\0" + data for data in files)
    yield from (b"\1" + data[5:-4] for data in files)
    yield b"\2\7\7\1" + bytes(range(1, 80))
    yield b"\2\3\3\0" + zlib.compress(bytes(20))
    yield b"\3" + container._pack_escapes((1, -2, 32767))
    yield b"\4\2\6\4" + bytes(range(40))
    yield b"\5\4" + bytes(range(40))
    yield b"\6" + bytes(range(40))
    exif = drawn.exif(Orientation=6, Make="Maker")
    yield b"\7\1" + struct.pack("<I", len(exif)) + exif + b'<x tiff:Orientation="6"/>'


def kept():
    """The inputs of `tests/data/fuzz.zip`, in order."""
    with zipfile.ZipFile(KEPT) as archive:
        return [archive.read(name) for name in sorted(archive.namelist())]


def keep(corpus):
    """Puts the inputs of a corpus in the place of those that were kept."""
    inputs = sorted({path.read_bytes() for path in pathlib.Path(corpus).iterdir()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for k, data in enumerate(inputs):
            archive.writestr(zipfile.ZipInfo(f"{k:04}"), data)
    KEPT.write_bytes(buffer.getvalue())
    print(f"{len(inputs)} inputs, {KEPT.stat().st_size} bytes")


def main():
    if sys.argv[1] == "--keep":
        return keep(sys.argv[2])
    import atheris

    corpus = pathlib.Path(sys.argv[1])
    corpus.mkdir(exist_ok=True)
    # TensorFlow first: only what follows is instrumented.
    import tensorflow  # noqa: F401

    with atheris.instrument_imports(include=list(PACKAGES)):
        import tfcodec.coding.arithmetic
        import tfcodec.coding.container
        import tfcodec.coding.mixtures
        import tfcodec.coding.range_coder

        if importlib.util.find_spec("range_coder"):
            import tfcodec.coding.reference_coder
        import tfcodec.pictures.reader  # noqa: F401
    for k, data in enumerate([*seeds(), *(kept() if KEPT.exists() else [])]):
        (corpus / f"{k:04}").write_bytes(data)
    atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:]], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Outputs in containers: WebDataset tars and TFRecord files, the same bytes for the same members.

Whatever the container, an output's bytes lie in it as they are, so that (path, offset, length) is
all that it takes to read one.
"""

import io
import struct
import tarfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from tfcodec.training.records import KEYS, masked_crc

KINDS = {"tar": ".tar", "tfrecord": ".tfrecord"}


def write(file: BinaryIO, kind: str, members: Iterable[tuple[str, bytes]]) -> Iterator[int]:
    """Writes a container, and yields at which offset the bytes of each member begin.

    Args:
        file: only written to, never sought in.
        kind: one of KINDS.
        members: (name, bytes), in order.
    """
    return (_write_tar if kind == "tar" else _write_records)(file, members)


def _write_tar(file, members):
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)  # neither time nor owner: the same tar at any time
            tar.addfile(entry, io.BytesIO(data))
            yield tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _write_records(file, members):
    offset = 0
    for name, data in members:
        example = _example(name, data)
        length = struct.pack("<Q", len(example))
        file.write(length + struct.pack("<I", masked_crc(length)))
        file.write(example + struct.pack("<I", masked_crc(example)))
        yield offset + 12 + len(example) - len(data)
        offset += 16 + len(example)


def _example(name: str, data: bytes) -> bytes:
    """A serialised `tf.train.Example`; the data come last."""
    features = (
        ("image/filename", name.encode()),
        ("image/format", name.rpartition(".")[2].encode()),
        (KEYS[0], data),
    )
    entries = (_field(1, key.encode()) + _field(2, _bytes_list(value)) for key, value in features)
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def _bytes_list(value):
    return _field(1, _field(1, value))


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    size, varint = len(value), bytearray([number << 3 | 2])
    while size > 127:
        varint.append(size & 127 | 128)
        size >>= 7
    return bytes([*varint, size]) + value

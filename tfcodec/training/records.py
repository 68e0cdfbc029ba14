"""Pictures in TFRecord files and in TensorFlow Datasets, each found by its place in a file.

A TFRecord file is a row of [length uint64][its CRC][record][its CRC]; a record here is a serialised
`tf.train.Example` with one picture, encoded as PNG, JPEG or WebP, under one of `KEYS`. Knowing the
places, any record can be read at any time: a plan that follows from the step alone needs that, and
it needs no TensorFlow.
"""

import dataclasses
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from absl import logging

from tfcodec.errors import InputError

KEYS = ("image/encoded", "image")  # of the feature with the encoded picture, the first found counts
FILES = re.compile(r"\.tfrecords?(-\d+-of-\d+)?$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, order=True, slots=True)
class Record:
    """Where a picture's record lies: `length` bytes from `offset` on in the file `path`."""

    path: str
    offset: int
    length: int
    key: str = ""  # of the picture's feature; empty for one of `KEYS`

    def __str__(self):
        return f"{self.path} at byte {self.offset}"

    def picture(self) -> bytes:
        """The encoded picture, bytes. Raises: OSError, or ValueError if it is not in the record."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return picture_in(file.read(self.length), self.key)


def picture_in(example: bytes, key: str = "") -> bytes:
    """The encoded picture in a serialised `tf.train.Example`.

    Args: key: of its feature; empty for one of `KEYS`.
    Raises: ValueError if it is not in there.
    """
    features = dict(_features(example))
    for name in (key,) if key else KEYS:
        if name in features:
            return features[name]
    raise ValueError(f"no picture under {key or ' or '.join(KEYS)} in the record")


def index(path: str, key: str = "") -> list[Record]:
    """The records of a TFRecord file, in order. A last record that is cut off is left out, with a
    notice. Raises: InputError if the file is no TFRecord file, such as a compressed one."""
    with open(path, "rb") as file:
        return [Record(path, offset, length, key) for offset, length in places(file, path)]


def places(file: BinaryIO, name: str) -> Iterator[tuple[int, int]]:
    """(offset, length) of each record of an open TFRecord file; as `index`."""
    size = file.seek(0, 2)
    offset = count = 0
    while offset < size:
        file.seek(offset)
        head = file.read(12)
        if len(head) == 12 and struct.unpack("<I", head[8:])[0] != masked_crc(head[:8]):
            raise InputError(
                f"{name}: not an uncompressed TFRecord file, or damaged at byte {offset}"
            )
        length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else size
        if offset + 16 + length > size:
            logging.warning("%s ends within a record; %d are whole", name, count)
            break
        yield offset + 12, length
        offset += 16 + length
        count += 1


def dataset(name: str) -> list[Record]:
    """The records of `tfds:NAME[:SPLIT]`, a data set of TensorFlow Datasets; the split is `train`
    unless named. A data set that is not on the disk yet is downloaded and prepared.

    Raises: InputError if tensorflow-datasets is missing, or there is no such data set, split or
        picture in it.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise InputError(f"{name}: needs pip install 'tfcodec[tfds]'") from None
    # The version in NAME/CONFIG:1.0.0 is no split.
    parts = re.fullmatch(r"tfds:(.+?)(?::([A-Za-z_].*))?", name)
    builder_name, split = parts.groups() if parts else ("", None)
    try:
        builder = tfds.builder(builder_name)
        builder.download_and_prepare()
        instructions = builder.info.splits[split or "train"].file_instructions
    except Exception as error:  # the library raises a dozen kinds
        raise InputError(f"{name}: {str(error).strip().splitlines()[0]}") from error
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise InputError(f"{name}: prepared as {builder.info.file_format}, not as TFRecord")
    images = [k for k, v in builder.info.features.items() if isinstance(v, tfds.features.Image)]
    if not images:
        raise InputError(f"{name}: has no feature that is a picture")
    found = []
    for part in instructions:
        last = None if part.take == -1 else part.skip + part.take
        found += index(str(part.filename), images[0])[part.skip : last]
    return found


def _features(example):
    """(key, first bytes value) of each feature of bytes in a serialised `tf.train.Example`."""
    for features in _messages(example, 1):
        for entry in _messages(features, 1):
            for feature in _messages(entry, 2):
                for values in _messages(feature, 1):
                    for value in _messages(values, 1):
                        yield next(_messages(entry, 1)).decode(errors="replace"), value
                        break


def _messages(message, number):
    """Values of the length-delimited fields of that number in a protocol buffer."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            _, position = _varint(message, position)
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        elif kind == 2:
            length, position = _varint(message, position)
            if position + length > len(message):
                raise ValueError("the record is not a tf.train.Example")
            if tag >> 3 == number:
                yield message[position : position + length]
            position += length
        else:
            raise ValueError("the record is not a tf.train.Example")


def _varint(message, position):
    value = shift = 0
    while True:
        if position >= len(message) or shift > 63:
            raise ValueError("the record is not a tf.train.Example")
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def masked_crc(content: bytes) -> int:
    """CRC-32C of some bytes, masked as TFRecord files have it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

"""The directory of tags at the head of a TIFF structure: of a TIFF file, or of EXIF."""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

EXIF_PREFIX = b"Exif\0\0"  # before the structure in a JPEG, and wherever writers took it along
ORIENTATION = 0x0112

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MOST_ENTRIES = 4096  # files have some twenty


class Directory:
    """The first directory; values stay in the file until they are asked for.

    Args: file: binary and seekable; its bytes may be hostile.
    Raises: ValueError, half a sentence, if this is no TIFF structure or it ends too early; so do
        the methods.
    """

    def __init__(self, file: BinaryIO):
        self._file, self._size = file, file.seek(0, os.SEEK_END)
        head = self.read(0, 4)
        self.order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if self.order is None or head[2:].strip(b"\0") not in (b"*", b"+"):
            raise ValueError("it does not begin as a TIFF")
        self.big = b"+" in head[2:]  # BigTIFF, whose places have 64 bits
        place = "Q" if self.big else "I"
        (start,) = self._unpack(8 if self.big else 4, place)
        self.at = start
        counter, entry = ("Q", "HHQ8s") if self.big else ("H", "HHI4s")
        (count,) = self._unpack(start, counter)
        if count > _MOST_ENTRIES:
            raise ValueError(f"it claims {count} tags")
        start += struct.calcsize(f"<{counter}")
        size = struct.calcsize(f"<{entry}")
        self._entries = {}
        for at in range(start, start + count * size, size):
            tag, kind, number, _ = self._unpack(at, entry)
            where = at + size - (8 if self.big else 4)
            if number * _SIZES.get(kind, 1) > size - (where - at):
                (where,) = self._unpack(where, place)
            self._entries.setdefault(tag, (kind, number, where))
        try:  # place of the next directory, 0 after the last one
            (self.next,) = self._unpack(start + count * size, place)
        except ValueError:
            self.next = 0

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def read(self, at: int, size: int) -> bytes:
        """`size` bytes of the file."""
        if at + size > self._size:
            raise ValueError("it ends too early")
        self._file.seek(at)
        return self._file.read(size)

    def read_most(self, at: int, most: int) -> bytes:
        """As `read`, or as many as there are."""
        return self.read(at, max(min(most, self._size - at), 0))

    def integers(self, tag: int, most: int = 64) -> tuple[int, ...]:
        """All values of a tag of at most `most` integers; none if the tag is absent."""
        if tag not in self._entries:
            return ()
        kind, number, where = self._entries[tag]
        if kind not in _INTEGERS or number > most:
            raise ValueError(f"its tag {tag} has {number} values of type {kind}")
        return self._unpack(where, f"{number}{_INTEGERS[kind]}")

    def integer(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        return (self.integers(tag) or (default,))[0]

    def data(self, tag: int, most: int) -> bytes:
        """The bytes of a tag, none if it is absent or has more than `most`."""
        kind, number, where = self._entries.get(tag, (1, 0, 0))
        size = number * _SIZES.get(kind, 1)
        return self.read(where, size) if 0 < size <= most else b""

    def place(self, tag: int) -> tuple[int, int] | None:
        """Where the one short or long value of a tag stands, within its entry, and its bytes."""
        kind, number, where = self._entries.get(tag, (0, 0, 0))
        return (where, _SIZES[kind]) if kind in (3, 4) and number == 1 else None

    def _unpack(self, at, form):
        form = self.order + form
        return struct.unpack(form, self.read(at, struct.calcsize(form)))

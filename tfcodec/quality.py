"""The best quality within a size."""

from collections.abc import Callable, Sequence

LOWEST, HIGHEST = 1, 8


def best_within(limit: int, qualities: Sequence, encode: Callable, size: Callable = len):
    """Bisects over ascending qualities for the last one whose file has at most `limit` bytes.

    Args:
        encode: a quality to its file, of which `size` gives the bytes; larger for better qualities.
    Returns: (quality, file), or (None, the file of the lowest quality) if even that is too large.
    """
    found, file = (None, None), None
    low, high = 0, len(qualities) - 1
    while low <= high:
        middle = (low + high) // 2
        file = encode(qualities[middle])
        if size(file) <= limit:
            found, low = (qualities[middle], file), middle + 1
        else:
            high = middle - 1
    # If nothing fits, the search has ended at the lowest quality.
    return found if found[1] is not None else (None, file)

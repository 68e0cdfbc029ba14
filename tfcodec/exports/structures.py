"""Tensors in tuples, lists and dictionaries, in the order that TensorFlow gives them.

Dictionaries come in the order of their names. This module needs neither TensorFlow nor Keras.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

Structure: TypeAlias = Any  # a leaf, or leaves in tuples, lists and dictionaries


def flatten(structure: Structure) -> list[Any]:
    """The leaves in their order."""
    leaves = []
    map_leaves(leaves.append, structure)
    return leaves


def pack(structure: Structure, leaves: Iterable[Any]) -> Structure:
    """The reverse: as `structure`, of other leaves in that order."""
    leaves = iter(leaves)
    return map_leaves(lambda _: next(leaves), structure)


def map_leaves(function: Callable[[Any], Any], structure: Structure) -> Structure:
    """The structure of what a function says of each leaf, called in their order."""
    if isinstance(structure, dict):
        return {name: map_leaves(function, structure[name]) for name in sorted(structure)}
    if isinstance(structure, (tuple, list)):
        return type(structure)(map_leaves(function, each) for each in structure)
    return function(structure)

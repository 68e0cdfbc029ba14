"""What any network may use: one idea a file.

Rules. May import: Keras, and its own room. Imported by entropy, exact and models. Never knows:
entropy models, coding, files; which model it serves.
"""

from typing import Any, TypeAlias

# The words of the hints.
Tensor: TypeAlias = Any  # of the backend in use, or symbolic: Keras has no one class for them
Tensors: TypeAlias = Tensor | tuple[Tensor, ...]  # one, or one of each resolution
Shape: TypeAlias = tuple[int | None, ...]  # batch first; None for a side that is not known
PairOfShapes: TypeAlias = tuple[Shape, Shape]  # high and low resolution

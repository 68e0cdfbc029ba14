"""A loaded export: the model of `entropy.walk`, and the transforms around it, tile by tile."""

import functools
import os
from typing import Any

import numpy as np

from tfcodec.coding import wavefront
from tfcodec.coding.format import PROFILE_FLOAT32
from tfcodec.coding.tables import CodingTables
from tfcodec.entropy.walk import CODINGS, CodedPrior, LatentShapes, State, read_parts
from tfcodec.errors import ModelError
from tfcodec.exact import specification
from tfcodec.exact.proof import frozen_convolutions, integers_hash, known_answer
from tfcodec.exports import litert, remembered, runtimes, structures, tiles
from tfcodec.exports.installed import ModelInfo
from tfcodec.exports.weights import StoredWeights
from tfcodec.layers import Tensors

# Largest picture of a model that cannot be tiled, since it sees the whole picture at once.
UNTILED_PIXELS = 2**22


class Exported:
    """A loaded export: the model of `walk.walk`, and the transforms around it.

    Args: runtime: what computes its functions, one of `runtimes`.
    Raises: ModelError if the folder does not hold what its config.json says.
    """

    def __init__(self, info: ModelInfo, runtime: str = runtimes.TENSORFLOW):
        self.info, self.runtime = info, runtime
        self.functions, incomplete_exports_named = runtimes.open_functions(info, runtime)
        self.tables = CodingTables(**self.functions.tables())
        with incomplete_exports_named(info.path):
            self.tiling = info.config["tiling"]
        self.stride = info.config["stride"]
        try:
            self.parts = read_parts(info.config["steps"])
        except (TypeError, ValueError) as error:
            raise ModelError(f"{info.path}: its parts cannot be read: {error}") from error
        self._latents = LatentShapes(self.parts, self.stride)
        self.check_arithmetic()

    @functools.cached_property
    def module(self) -> Any:
        """The whole SavedModel, as TensorFlow makes an object of it: to save its functions again.

        Raises: ModelError.
        """
        import tensorflow as tf

        from tfcodec.exports.functions import incomplete_exports_named

        with incomplete_exports_named(self.info.path):
            return tf.saved_model.load(os.path.join(self.info.path, "1"))

    def check_arithmetic(self) -> None:
        """Raises ModelError unless a frozen model is whole, proven and computes as it should."""
        profile, name = self.info.config["profile"], self.info.name
        if profile == PROFILE_FLOAT32:
            return
        if profile not in specification.NUMBERS:
            raise ModelError(
                f"{name} needs arithmetic profile {profile}, which this version does not know"
            )
        convs = []
        if not self.functions.whole:
            convs = frozen_convolutions(self.info.config, StoredWeights(self.info))
            if integers_hash(convs) != self.info.config["exact"]["sha256"]:
                raise ModelError(f"{self.info.path}: the model's integers are damaged")
        proof = remembered.Proof(self.info.config, self.functions.content, self.runtime)
        if not proof.is_known():
            self._prove(convs)
            proof.remember()

    def keep_networks(self, keep: bool) -> None:
        """Whether networks of LiteRT stay in memory after their use, as they do, unless they are
        large. One picture needs each of them once."""
        if self.runtime == runtimes.LITERT:
            self.functions.large_inputs = litert.LARGE_INPUTS if keep else 0

    def _free_large(self):
        """TensorFlow gives memory back by itself."""
        if self.runtime == runtimes.LITERT:
            self.functions.free_large()

    def _prove(self, convs):
        """Raises ModelError unless sums are bounded and known symbols are answered rightly."""
        name = self.info.name
        try:
            for conv in convs:
                conv.prove()
        except ValueError as error:
            raise ModelError(f"{name}: its arithmetic is not exact: {error}") from error
        if known_answer(self) != self.info.config["exact"]["known_answer"]:
            raise ModelError(
                f"{name} computes otherwise than it should on this machine: its integer arithmetic "
                "is not exact here"
            )

    def padded(self, height: int, width: int) -> list[int]:
        """The two sides of a picture as the model sees it, multiples of its stride."""
        return self._latents.padded(height, width)

    def shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        """Shape (1, h, w, c) of each step's latents for a picture of that size."""
        return self._latents.shapes(height, width)

    def analysis(
        self, rgb: np.ndarray, rung: float, progress: tiles.Progress | None = None
    ) -> list[np.ndarray]:
        """uint8 [H, W, 3] to the latents of each step, float32 [1, h, w, c].

        progress: called after each tile of a large picture with tiles done and their number.
        """
        steps = []
        latents = self.functions.to_latents(self._to_y(rgb, rung, progress))
        for part, latent in zip(self.parts, latents, strict=True):
            latent = np.asarray(latent)
            steps += wavefront.split(latent) if part.wavefront else [latent]
        return steps

    def _to_y(self, rgb, rung, progress=None):
        """uint8 [H, W, 3] to y, tile by tile."""
        padded = self.padded(*rgb.shape[:2])
        grid, y, whole = self._grid(*padded, "analysis"), None, None
        for tile, (rows, columns) in enumerate(grid):
            seen = rgb[None, rows.start : rows.stop, columns.start : columns.stop]
            y = self.functions.to_y(seen, np.float32([rung]))
            if len(grid) == 1:
                return y
            flat = [np.asarray(latent) for latent in structures.flatten(y)]
            strides = [(rows.stop - rows.start) // latent.shape[1] for latent in flat]
            if whole is None:
                whole = [
                    np.empty(
                        [1, *(side // stride for side in padded), latent.shape[-1]], np.float32
                    )
                    for latent, stride in zip(flat, strides, strict=True)
                ]
            for all_of_it, latent, stride in zip(whole, flat, strides, strict=True):
                _keep(all_of_it[0], latent[0], rows, columns, stride)
            if progress is not None:
                progress(tile + 1, len(grid))
        self._free_large()
        return structures.pack(y, whole)

    def estimate(self, rgb: np.ndarray, rung: float) -> dict[str, float]:
        """Bits of each part by the model's own densities, as the coder would charge them.

        Raises: ModelError for what was exported for a server, which has no densities, nor has
            LiteRT.
        """
        if self.functions.estimate is None:
            why = (
                "runs on LiteRT" if self.runtime == runtimes.LITERT else "is exported for a server"
            )
            raise ModelError(f"{self.info.name} {why}: it estimates no bits")
        bits = self.functions.estimate(self.functions.to_latents(self._to_y(rgb, rung)))
        return {part: float(value[0]) for part, value in bits.items()}

    def step(self, k: int, state: State, symbols: np.ndarray | None) -> tuple[State, CodedPrior]:
        steps, part = self.functions.steps, self.parts[min(k, len(self.parts) - 1)]
        if k == 0:
            state, mu, indexes = steps[0]()
        else:  # wavefronts repeat the last step
            state, mu, indexes = steps[min(k, len(steps) - 1)](state, symbols)
        self._free_large()
        return state, CODINGS[part.coding](part, np.asarray(mu), np.asarray(indexes))

    def finish(self, state: State, symbols: np.ndarray) -> Tensors:
        y_hat = self.functions.finish(state, symbols)
        self._free_large()
        return y_hat

    def synthesis(
        self,
        y_hat: Tensors,
        rung: float,
        height: int,
        width: int,
        progress: tiles.Progress | None = None,
    ) -> np.ndarray:
        """Decoded latents to the picture uint8 [height, width, 3], tile by tile."""
        padded = self.padded(height, width)
        grid = self._grid(*padded, "synthesis")
        if len(grid) == 1:
            rgb = self.functions.synthesis(y_hat, np.float32([rung]))[0, :height, :width]
            return np.array(rgb)  # which may be written
        rgb = np.empty([height, width, 3], np.uint8)

        def seen(latents, rows, columns):
            stride = padded[0] // latents.shape[1]
            rows, columns = (slice(s.start // stride, s.stop // stride) for s in (rows, columns))
            return latents[:, rows, columns]

        for tile, (rows, columns) in enumerate(grid):
            part = structures.map_leaves(lambda a, at=(rows, columns): seen(a, *at), y_hat)
            part = np.asarray(self.functions.synthesis(part, np.float32([rung])))[0]
            _keep(rgb, part, rows, columns)
            if progress is not None:
                progress(tile + 1, len(grid))
        self._free_large()
        return rgb

    def _grid(self, height, width, margins):
        if self.tiling is not None:
            return tiles.grid(height, width, self.tiling, margins, self.stride)
        if height * width > UNTILED_PIXELS:
            raise ModelError(
                f"{self.info.name} sees the whole picture at once, of at most {UNTILED_PIXELS} "
                f"pixels; this one has {height * width}, sides padded"
            )
        return [(tiles.Span(0, height, 0, height), tiles.Span(0, width, 0, width))]


def _keep(whole, tile, rows, columns, stride=1):
    """Copies what is kept of a tile [h, w, c] to its place; what lies beyond the whole is cut."""
    to, of = [], []
    for span, side in ((rows, whole.shape[0]), (columns, whole.shape[1])):
        first, last = span.first // stride, min(span.last // stride, side)
        start = span.start // stride
        to.append(slice(first, last))
        of.append(slice(first - start, last - start))
    whole[tuple(to)] = tile[tuple(of)]

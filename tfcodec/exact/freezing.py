"""How networks become `ExactNetwork`s: calibration on pictures, and the integers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.entropy import gaussian
from tfcodec.entropy.chains import FreezableNetwork
from tfcodec.errors import NotFreezable
from tfcodec.exact import phases, specification
from tfcodec.exact.layers import ExactNetwork, StraightThrough
from tfcodec.exact.rounding import Moments, patches
from tfcodec.layers import Tensor
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D, UpConv2D
from tfcodec.layers.watch import watching

HEADROOM = 1.25  # of a channel's range over the largest value seen in calibration
# Hidden channels and decoded latents may saturate. Models of many rates have their largest values
# at the highest one, and steps that are finer for all save more than clipping those few costs: quad
# lost 0.72 % at its lowest rate with a headroom of 1.25 for all, 0.17 % with these (eight crops).
HIDDEN_HEADROOM, DECODED_HEADROOM = 0.875, 0.625


class Met:
    """A convolution's kernel [rows, columns, C, O], and the moments of what its rows meet.

    Raises: NotFreezable, as `convolution`.
    """

    def __init__(self, layer: keras.layers.Layer):
        self.kernel, _, fields = convolution(layer)
        self._window = [fields[name] for name in ("kernel_size", "pads", "strides")]
        self.moments = Moments()

    @classmethod
    def of(cls, layer: keras.layers.Layer) -> "Met | None":
        """That of a layer, None if it pads in another way than is known here."""
        try:
            return cls(layer)
        except NotFreezable:
            return None

    def add(self, x: Tensor) -> None:
        """Counts an input of the convolution, [B, H, W, C]."""
        x = ops.convert_to_numpy(ops.cast(x, "float32"))
        self.moments.add(patches(x, *self._window))


class Calibration:
    """Records what enters and leaves convolutions: the largest absolute value of each channel, and
    means and covariances of what enters.

    Args: chains: the `FreezableNetwork`s.
    As a context manager it listens to every call of their layers, which must be eager.
    """

    def __init__(self, chains: Sequence[FreezableNetwork]):
        self._layers = {id(layer) for chain in chains for layer, _ in chain.stages}
        self.inputs, self.outputs, self._sums, self._met = {}, {}, {}, {}
        self._slopes = {id(layer): slope for chain in chains for layer, slope in chain.stages}

    def __enter__(self):
        self._block = watching(self._listen)
        self._block.__enter__()
        return self

    def __exit__(self, *error):
        self._block.__exit__(*error)

    def _listen(self, layer, inputs, output):
        if id(layer) in self._layers:
            self._take(self.inputs, layer, inputs[0], 1)
            self._take(self.outputs, layer, output, float(self._slopes[id(layer)]))
            x = np.float64(ops.convert_to_numpy(inputs[0]))
            total, count = self._sums.get(id(layer), (0.0, 0))
            self._sums[id(layer)] = total + x.sum((0, 1, 2)), count + x[..., 0].size
            if id(layer) not in self._met:
                self._met[id(layer)] = Met.of(layer)
            if self._met[id(layer)]:  # else `freeze` says what is wrong with it
                self._met[id(layer)].add(inputs[0])

    def mean(self, layer: keras.layers.Layer) -> np.ndarray:
        """Of what entered a convolution, [C]."""
        total, count = self._sums[id(layer)]
        return total / count

    def covariance(self, layer: keras.layers.Layer) -> np.ndarray:
        """Of what the rows of a convolution's kernel meet, [rows x columns x C] twice."""
        return self._met[id(layer)].moments.covariance()

    def _take(self, record, layer, x, slope):
        x = ops.convert_to_numpy(x)
        x = np.where(x < 0, -slope * x, x).max((0, 1, 2))
        record[id(layer)] = np.maximum(record.get(id(layer), 0.0), x)


def freeze(
    chain: FreezableNetwork, calibration: Calibration, profile: specification.Profile
) -> list[specification.Conv]:
    """The `specification.Conv`s of a `FreezableNetwork`, after calibration.

    Args: profile: an `specification.Profile`.
    Raises: NotFreezable if it was not calibrated, or its weights do not fit.
    """
    if id(chain.stages[0][0]) not in calibration.inputs:
        raise NotFreezable(f"{chain.attribute} was not used in calibration")
    sources, convs = chain.wired().sources, []
    tensors = _inputs(chain, calibration, profile.input_max)
    outputs = _outputs(chain, calibration, profile.input_max)
    for (layer, slope), source, output in zip(chain.stages, sources, outputs, strict=True):
        kernel, bias, fields = convolution(layer)
        in_scale, blocks = tensors[source]
        conv = specification.quantise(
            kernel,
            bias,
            specification.Source(in_scale, calibration.mean(layer), calibration.covariance(layer)),
            output,
            profile,
            blocks=blocks,
            slope=specification.slope_ratio(float(slope)),
            **fields,
        )
        convs.append(conv)
        tensors.append((conv.arrays["out_scale"], (len(output.scale),)))
    return convs


def _inputs(chain, calibration, most):
    """[(what an integer means [C], blocks)] of the network's inputs."""
    limits = [HEADROOM] * chain.first_decoded + [DECODED_HEADROOM] * len(chain.blocks)
    found, sources = [], chain.wired().sources
    for number, blocks in enumerate(chain.blocks_of_inputs()):
        seen = calibration.inputs[id(chain.stages[sources.index(number)][0])]
        headroom = np.repeat(limits[: len(blocks)], blocks)
        limits = limits[len(blocks) :]
        found.append((_power_of_two(headroom * seen, most), blocks))
    return found


def _outputs(chain, calibration, most):
    """The `specification.Meaning` of what each stage gives."""
    wiring, layers = chain.wired(), [layer for layer, _ in chain.stages]
    seen = dict(enumerate((calibration.outputs[id(each)] for each in layers), wiring.inputs))
    sums = {k: other for k, other in enumerate(wiring.added, wiring.inputs) if other is not None}
    for number, other in sums.items():
        if number in wiring.sources:  # what takes the sum has seen it
            seen[number] = calibration.inputs[id(layers[wiring.sources.index(number)])]
        else:
            seen[number] = seen[number] + seen[other]
    results = dict(zip(wiring.results, chain.outputs_of_results(), strict=True))
    found = {k: _hidden(seen[k], most) for k in seen if k not in results}
    found |= {k: _meaning(outputs, seen[k]) for k, outputs in results.items()}
    for number, other in sums.items():
        if number in results:
            found[number], found[other] = _shared(found[number], seen[other], most)
        else:
            found[number] = found[other] = _hidden(np.maximum(seen[number], seen[other]), most)
    return [found[k] for k in seen]


def _hidden(seen, most):
    """Of integers that the next convolution takes as they are."""
    # A channel that was silent gets the range of the liveliest: it may wake. If all were, any.
    seen = np.where(seen > 0, seen, seen.max() or 1.0)
    limit = np.full(seen.shape, most)
    return specification.Meaning(HIDDEN_HEADROOM * seen / most, np.zeros_like(seen), -limit, limit)


def _shared(result, seen, most):
    """(of a result that is a sum, of what is added to it, which convolutions take, too)."""
    if result.offset.any():
        raise NotFreezable("a sum of two paths is features or means, not log(sigma) at levels")
    scale = np.maximum(result.scale, _power_of_two(HEADROOM * seen, most))
    low, high = (np.trunc(end * result.scale / scale) for end in (result.low, result.high))
    limit = np.full(seen.shape, most)
    of_result = dataclasses.replace(result, scale=scale, low=low, high=high)
    return of_result, specification.Meaning(scale, result.offset, -limit, limit)


def _power_of_two(seen, most):
    """The finest power of two in whose multiples `most` reaches these values."""
    seen = np.where(seen > 0, seen, max(seen.max(), 1.0))
    finest = 2.0**-specification.GRID_BITS
    return np.maximum(np.exp2(np.ceil(np.log2(seen / most))), finest)


def _meaning(outputs, seen):
    """Of a network's last integers."""
    parts, first = [], 0
    for kind, channels in outputs:
        ones = np.ones(channels)
        if kind == "mu":
            part = (
                2.0**-specification.MEAN_BITS,
                0.0,
                -specification.MEAN_MAX,
                specification.MEAN_MAX,
            )
        elif kind == "log_scale":
            part = (gaussian.LEVEL_STEP, gaussian.LOG_MIN, 0, gaussian.NUM_LEVELS - 1)
        else:
            largest = HEADROOM * seen[first : first + channels]
            scale = _power_of_two(largest, specification.FEATURE_MAX)
            part = (scale, 0.0, -specification.FEATURE_MAX, specification.FEATURE_MAX)
        parts.append([value * ones for value in part])
        first += channels
    return specification.Meaning(*map(np.concatenate, zip(*parts, strict=True)))


def float_path(layer: keras.layers.Layer) -> str:
    """Path of a float convolution's variables, but for their names."""
    inner = layer.conv if isinstance(layer, SubpixelConv2D) else layer
    return inner.kernel.path.rpartition("/")[0]


def convolution(layer: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """(kernel [rows, columns, C, O], bias [O], other fields of a `Conv`) of a float layer.

    Raises: NotFreezable if it pads in another way than `Conv` can.
    """
    factor, transposed, strides = 1, 0, (1, 1)
    name = float_path(layer)
    if isinstance(layer, SubpixelConv2D):
        factor, layer = layer.factor, layer.conv
    kernel = ops.convert_to_numpy(layer.kernel)
    outputs = kernel.shape[2] if isinstance(layer, UpConv2D) else kernel.shape[3]
    bias = np.zeros(outputs) if layer.bias is None else ops.convert_to_numpy(layer.bias)
    if isinstance(layer, UpConv2D):
        factor, transposed = layer.strides[0], kernel.shape[0]
        kernel, pads = phases.to_phases(kernel, factor)
        bias = np.tile(bias, factor**2)
    else:
        strides = tuple(layer.strides)
        same = layer.padding == "same" or kernel.shape[:2] == (1, 1)
        if not isinstance(layer, DownConv2D) and not (same and strides == (1, 1)):
            raise NotFreezable(f"{name} pads in a way that is not supported")
        pads = tuple(((k - 1) // 2, k // 2) for k in kernel.shape[:2])
        if isinstance(layer, DownConv2D):
            pads = tuple(((k - 1) // 2,) * 2 for k in kernel.shape[:2])
    fields = dict(name=name, transposed=transposed, kernel_size=kernel.shape[:2], pads=pads)
    return kernel, bias, fields | dict(strides=strides, factor=factor)


def swap(chain: FreezableNetwork, convs: Sequence[specification.Conv]) -> None:
    """Puts an `ExactNetwork` of these in the chain's place."""
    _replace(chain, ExactNetwork(chain.wired(), convs, name=chain.attribute))


def pair(chain: FreezableNetwork, convs: Sequence[specification.Conv]) -> None:
    """As `swap`, of a `StraightThrough` of that chain and the network itself."""
    network = getattr(chain.owner, chain.attribute)
    _replace(chain, StraightThrough(network, ExactNetwork(chain.wired(), convs, name="exact")))


def _replace(chain, new):
    old = getattr(chain.owner, chain.attribute)
    tracker = chain.tracker or chain.owner
    tracker._tracker.unlock()  # as Keras' own quantisation does
    delattr(chain.owner, chain.attribute)
    tracker._layers.remove(old)
    setattr(chain.owner, chain.attribute, new)
    if tracker is not chain.owner:
        tracker._layers.append(new)
    tracker._tracker.lock()

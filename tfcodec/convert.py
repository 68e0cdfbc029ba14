"""The authors' published PyTorch checkpoints as our models.

A checkpoint's tensors are found by name: `tensors` walks a model of ours and says what each weight
is called in the authors' code, in which shape, and how it is turned into ours. Nothing of a
checkpoint is executed: it is read with PyTorch's weights-only unpickler.

TensorFlow, Keras and PyTorch are imported when they are needed.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tfcodec.errors import InputError
from tfcodec.exports import installed

SOURCES = ("weconvene", "tcm", "icwem")

# Buffers that the authors' models make themselves, and that ours have no use for.
NOT_LEARNED = re.compile(
    r"(_offset|_quantized_cdf|_cdf_length|\.target|\.scale_table|\.scale_bound|\.bound|\.pedestal)$"
)
SUFFIXES = {"y": "", "low": "_real", "high": "_imag"}  # of the authors' names, by our group


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint and the weight that it becomes.

    name, shape: in the checkpoint.
    variable: of our model.
    convert: from one numpy array to the other.
    """

    name: str
    shape: tuple[int, ...]
    variable: object
    convert: Callable


def convert(
    source: str,
    checkpoint: str,
    directory: str,
    name: str | None = None,
    lmbda: float = 0.013,
    weights: str = "float32",
    precision: str = "float32",
) -> installed.ModelInfo:
    """Makes an export of a checkpoint file.

    Args:
        source: of `SOURCES`, the authors' model.
        checkpoint: path of a file that `torch.save` wrote: a state dict, or one under the key
            "state_dict"; names may begin with "module.".
        directory, name: see `exports.write.write`.
        lmbda: that the checkpoint was trained for; recorded in the export.
        weights: "float32", exact, "bfloat16", half the size, or "int8", see `exports.write.write`.
        precision: of the transforms, see `exports.write.write`.
    Returns: the `ModelInfo`.
    Raises: InputError if the file cannot be read or a tensor is missing, misshapen or unknown.
    """
    from tfcodec.exports import write

    state = read_checkpoint(checkpoint)
    model, config = build(source, state, checkpoint, lmbda)
    preset = f"n{config.filters}"
    note = {"converted_from": source}
    return write.write(model, directory, source, preset, config, name, weights, note, precision)


def read_checkpoint(path: str) -> dict[str, np.ndarray]:
    """The state dict of a checkpoint: numpy arrays by name, "module." taken away."""
    try:
        import torch
    except ImportError as error:
        raise InputError(
            "reading PyTorch checkpoints needs PyTorch: pip install 'tfcodec[convert]'"
        ) from error
    import pickle

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a checkpoint that can be read safely ({reason})") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not any(map(torch.is_tensor, content.values())):
        raise InputError(f"{path}: holds no state dict of a model")
    return {
        name.removeprefix("module."): value.detach().float().numpy()
        for name, value in content.items()
        if torch.is_tensor(value)
    }


def build(
    source: str, state: dict[str, np.ndarray], path: str = "checkpoint", lmbda: float = 0.013
) -> tuple[Any, Any]:
    """(model, config) with the weights of a state dict, widths and slices read from its tensors.

    Args: source, lmbda: see `convert`. state: arrays by name. path: what to call it in an error.
    Raises: InputError that names up to three tensors that are missing, misshapen or unknown.
    """
    from tfcodec import models

    if source not in SOURCES:
        raise InputError(f"there is no source {source!r}; the sources are {', '.join(SOURCES)}")
    config = _config(source, state, path, lmbda)
    model = models.module(source).build(config, name=source).build_weights()
    wanted = {tensor.name: tensor for tensor in tensors(model)}
    problems = []
    for tensor in wanted.values():
        found = state.get(tensor.name)
        if found is None:
            problems.append(f"{tensor.name} is missing")
        elif found.shape != tensor.shape:
            shapes = f"{list(tensor.shape)}, found {list(found.shape)}"
            problems.append(f"{tensor.name} should be {shapes}")
    unknown = [
        name
        for name in state
        if name not in wanted and not NOT_LEARNED.search(name) and not _unused(model, name)
    ]
    problems += [f"{name} is not known" for name in unknown]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InputError(f"{path}: not a checkpoint of {source}: {', '.join(problems[:3])}{more}")
    for tensor in wanted.values():
        tensor.variable.assign(tensor.convert(state[tensor.name]))
    return model, config


def _config(source, state, path, lmbda):
    """The `Config` that a state dict's shapes imply."""
    from tfcodec import models

    def width(name):
        if name not in state or state[name].ndim != 4:
            raise InputError(f"{path}: not a checkpoint of {source}: {name} is missing")
        return state[name].shape[0]

    def count(pattern):
        return len({name for name in state if re.fullmatch(pattern, name)})

    lambdas = (float(lmbda),)
    if source in ("tcm", "icwem"):
        pixels = {}
        if source == "icwem":
            pixels["enhancement"] = width("enh.forw_enh.layers.1.weight")
            pixels["levels"] = count(r"inv\.operations\.\d+\.weight")
        return models.module(source).Config(
            filters=width("g_a.0.conv1.weight") // 2,
            latents=width("g_a.9.weight"),
            slices=count(r"cc_mean_transforms\.\d+\.0\.weight"),
            hyper_latents=width("h_a.3.weight"),
            lambdas=lambdas,
            **pixels,
        )
    return models.module("weconvene").Config(
        filters=width("g_a.0.conv1.weight"),
        latents=width("g_a.12.weight"),
        low_slices=count(r"cc_mean_transforms_real\.\d+\.0\.weight"),
        high_slices=count(r"cc_mean_transforms_imag\.\d+\.0\.weight"),
        hyper_latents=width("h_a.4.weight"),
        wavelet="haar" if _is_haar(state) else "taps",
        lambdas=lambdas,
    )


def _is_haar(state):
    """Whether every transform's filters in a state dict are Haar's."""
    from tfcodec.layers.wavelet import HAAR_TAPS

    rows = {f"dwt.w_{band}": k for k, band in enumerate(("ll", "lh", "hl", "hh"))}
    for name, value in state.items():
        expected = None
        if name.endswith("dwt.filters"):
            expected = HAAR_TAPS
        for ending, k in rows.items():
            if name.endswith(ending):
                expected = HAAR_TAPS[k : k + 1]
        if expected is not None and value.size == expected.size:
            if np.abs(value.reshape(expected.shape) - expected).max() > 1e-6:
                return False
    return True


def _unused(model, name):
    """Whether the authors' code has a weight of that name and does not use it."""
    from tfcodec.layers.weconv import WeConvDown

    if re.search(r"(^|\.)(dwt\.w_(ll|lh|hl|hh)|idwt\.filters)$", name):
        return model.latents.bands is not None  # Haar: nothing to convert
    found = re.fullmatch(r"(g_a|h_a)\.(\d+)\.conv2\.(weight|bias)", name)
    if not found:
        return False
    net = model.analysis_transform if found[1] == "g_a" else model.latents.hyper_analysis
    k = int(found[2])
    return k < len(net.layers) and isinstance(net.layers[k], WeConvDown)


# ------------------------------------------------------------------------- names, layer by layer


def tensors(model: Any) -> Iterator[Tensor]:
    """A `Tensor` for each weight of a codec of the papers' sizes with `ContextLatents`."""
    nets = {
        "g_a": model.analysis_transform,
        "g_s": model.synthesis_transform,
        "h_a": model.latents.hyper_analysis,
        "h_mean_s": model.latents.hyper_means,
        "h_scale_s": model.latents.hyper_scales,
    }
    for name, net in nets.items():
        yield from net_tensors(net, name)
    if model.latents.bands is not None:
        yield from _of_layer(model.latents.bands.transform, "")
    if model.pixels is not None:
        yield from _of_layer(model.pixels.enhance, "enh.forw_enh")
        yield from _of_layer(model.pixels.network, "inv")
        yield from _of_layer(model.pixels.restore, "enh.back_enh")
    charm = model.latents.context
    for (g, i), layer in zip(charm.order, charm.slices, strict=True):
        suffix = SUFFIXES[charm.groups[g].name]
        for statistic in ("mean", "scale"):
            attend = getattr(layer, f"attend_{statistic}")
            yield from _of_layer(attend, f"atten_{statistic}{suffix}.{i}.0")
        for net in ("mean", "scale", "lrp"):
            prefix = {"lrp": "lrp"}.get(net, f"cc_{net}")
            for k, conv in enumerate(getattr(layer, net).convs):
                yield from _of_layer(conv, f"{prefix}_transforms{suffix}.{i}.{2 * k}")
    prior = model.latents.prior
    for names, values in (
        ("matrices", prior.matrices),
        ("biases", prior.biases),
        ("factors", prior.factors),
    ):
        for k, variable in enumerate(values):
            yield _same(f"entropy_bottleneck.{names}.{k}", variable)
    channels = prior.quantiles.shape[0]
    yield Tensor(
        "entropy_bottleneck.quantiles",
        (channels, 1, 3),
        prior.quantiles,
        lambda value: value.reshape(-1, 3),
    )


def net_tensors(net: Any, name: str) -> Iterator[Tensor]:
    """A `Tensor` for each weight of a `keras.Sequential` that is called `name` there."""
    for k, layer in enumerate(net.layers):
        yield from _of_layer(layer, f"{name}.{k}")


def _parts():
    """For each kind of layer: the authors' names of its parts, by ours."""
    from tfcodec.layers import attention, enhancement, invertible, residual, tcm, weconv

    return {
        residual.ResidualBlock: {"conv1": "conv1", "conv2": "conv2", "skip": "skip"},
        residual.ResidualBlockDown: {
            "down": "conv1",
            "conv": "conv2",
            "gdn": "gdn",
            "skip": "skip",
        },
        residual.ResidualBlockUp: {
            "up": "subpel_conv",
            "conv": "conv",
            "igdn": "igdn",
            "skip": "upsample",
        },
        weconv.WeConvDown: {"resample": "conv1", "skip": "skip", "core": ""},
        weconv.WeConvUp: {"resample": "subpel_conv", "skip": "upsample", "core": ""},
        tcm.TCMBlock: {
            "mix_in": "conv1_1",
            "mix_out": "conv1_2",
            "conv": "conv_block",
            "swin": "trans_block",
        },
        tcm.Bottleneck: {"conv1": "conv.0", "conv2": "conv.2", "conv3": "conv.4"},
        tcm.ContextAttention: {
            "conv_in": "in_conv",
            "conv_gate": "conv_b.3",
            "conv_out": "out_conv",
            "trunk": "conv_a.{}",
            "gate": "conv_b.{}",
            "blocks": "non_local_block.block_{}",
        },
        attention.SwinBlock: {
            "attention": "msa",
            "norm1": "ln1",
            "norm2": "ln2",
            "expand": "mlp.0",
            "reduce": "mlp.2",
        },
        enhancement.FeatureEnhancement: {
            "dense_in": "layers.0",
            "convs": "layers.{}",
            "dense_out": "layers.4",
        },
        enhancement.DenseBlock: {"convs": "conv{}"},
        invertible.AffineCoupling: {
            f"{net}_conv{k}": f"{net.upper()}.conv{k + 1}"
            for net in ("g1", "h1", "g2", "h2")
            for k in range(3)
        },
    }


def _of_layer(layer, name):
    """The tensors of one layer that is called `name` in the authors' code."""
    import keras

    from tfcodec.layers.attention import WindowAttention
    from tfcodec.layers.conv import SubpixelConv2D
    from tfcodec.layers.gdn import GDN
    from tfcodec.layers.invertible import InvertibleConv1x1, InvertibleNetwork
    from tfcodec.layers.wavelet import Transform2D
    from tfcodec.layers.weconv import WeConv

    dot = f"{name}." if name else ""
    if isinstance(layer, keras.layers.Conv2D):
        yield _kernel(f"{name}.weight", layer.kernel, (3, 2, 0, 1))
        yield _same(f"{name}.bias", layer.bias)
    elif isinstance(layer, keras.layers.Dense):
        yield _kernel(f"{name}.weight", layer.kernel, (1, 0))
        yield _same(f"{name}.bias", layer.bias)
    elif isinstance(layer, SubpixelConv2D):
        # PyTorch's pixel shuffle takes channels as (c, row, column), ours as (row, column, c).
        for tensor in _of_layer(layer.conv, f"{name}.0"):
            yield dataclasses.replace(
                tensor,
                convert=lambda value, then=tensor.convert: then(_shuffled(value, layer.factor)),
            )
    elif isinstance(layer, GDN):
        yield _same(f"{name}.beta", layer.beta)
        yield _kernel(f"{name}.gamma", layer.gamma, (1, 0))
    elif isinstance(layer, keras.layers.LayerNormalization):
        yield _same(f"{name}.weight", layer.gamma)
        yield _same(f"{name}.bias", layer.beta)
    elif isinstance(layer, WindowAttention):
        yield _same(f"{name}.relative_position_params", layer.bias)
        yield from _of_layer(layer.qkv, f"{name}.embedding_layer")
        yield from _of_layer(layer.out, f"{name}.linear")
    elif isinstance(layer, InvertibleConv1x1):
        yield _kernel(f"{name}.weight", layer.kernel, (1, 0))
    elif isinstance(layer, InvertibleNetwork):
        for k, each in enumerate(itertools.chain(*layer.levels)):
            yield from _of_layer(each, f"{name}.operations.{k}")
    elif isinstance(layer, WeConv):
        yield from _of_layer(layer.low, f"{dot}low_freq_conv")
        yield from _of_layer(layer.high, f"{dot}high_freq_conv")
        yield from _of_layer(layer.norm_low, f"{dot}{layer.norm}_low")
        yield from _of_layer(layer.norm_high, f"{dot}{layer.norm}_high")
        yield from _of_layer(layer.transform, name)
    elif isinstance(layer, Transform2D):
        if layer.wavelet == "taps":
            yield from _taps(layer, dot)
    else:
        for ours, theirs in _parts()[type(layer)].items():
            part = getattr(layer, ours)
            if isinstance(part, list):
                first = 1 if ours in ("blocks", "convs") else 0
                for k, each in enumerate(part):
                    yield from _of_layer(each, dot + theirs.format(k + first))
            elif part is not None:
                yield from _of_layer(part, dot + theirs if theirs else name)


def _same(name, variable):
    return Tensor(name, tuple(variable.shape), variable, lambda value: value)


def _kernel(name, variable, axes):
    """A weight whose axes stand in another order there: `axes` are ours, in their order."""
    shape = tuple(variable.shape[axis] for axis in axes)
    return Tensor(name, shape, variable, lambda value: value.transpose(np.argsort(axes)))


def _shuffled(value, factor):
    """A tensor whose first axis is (c, row, column) with that axis as (row, column, c)."""
    split = value.reshape(-1, factor * factor, *value.shape[1:])
    return np.swapaxes(split, 0, 1).reshape(value.shape)


def _taps(layer, dot):
    """The filters of one transform: four analysis tensors make one variable of ours."""
    for k, band in enumerate(("ll", "lh", "hl", "hh")):

        def one_row(value, k=k):
            taps = layer.analysis_taps.numpy()
            taps[k] = value[0, 0]
            return taps

        yield Tensor(f"{dot}dwt.w_{band}", (1, 1, 2, 2), layer.analysis_taps, one_row)
    yield Tensor(
        f"{dot}idwt.filters", (4, 1, 2, 2), layer.synthesis_taps, lambda value: value[:, 0]
    )

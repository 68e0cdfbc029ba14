"""Analysis and synthesis transforms that several models share.

`balle_*` are the papers' four strided 5x5 convolutions with GDN. `shortcut_*` are those of the
`compact` presets, made to learn fast with little compute and to run fast on a CPU:

    x ─┬► conv /2 ► GDN ─(+)─► conv /2 ► GDN ─(+)─► .. ─► conv /2 ─(+)─► y
       └► 2x2 /2 ─────────┴──► 2x2 /2 ─────────┴───► .. ─► 2x2 /2 ───┘

The lower chain is linear and starts orthonormal: a wavelet-like transform of the picture, fused
into 2x2 convolutions, whose energy compaction the upper chain refines (the idea of AuxT, Li et al.,
"On Disentangled Training for Nonlinear Transform in Learned Image Compression", ICLR 2025). Widths
grow as the resolution falls, so that most parameters sit where they cost least. The last
convolution of the upper chain starts at zero and `starts.principal` sets the lower chain to the
principal components of the training pictures: training begins at a linear transform codec, not at
noise.
"""

import dataclasses
from functools import partial
from typing import Any, Protocol

import keras
from keras import ops

from tfcodec.entropy.channelwise import ChARM, Group
from tfcodec.entropy.latents.hyperprior import ContextLatents, HyperNetworks
from tfcodec.layers import Tensor
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D, UpConv2D
from tfcodec.layers.gdn import GDN
from tfcodec.layers.tcm import TCMBlock
from tfcodec.layers.weconv import wavelet_conv

CENTRE = 0.5  # what is subtracted from pictures and added to them


class Sizes(Protocol):
    """Of a configuration whose model has a channel-wise entropy model."""

    filters: int
    latents: int
    hyper_latents: int


def sequential(layers: list[type | partial], name: str) -> keras.Sequential:
    """`keras.Sequential` of layers given as classes or partials of them, named by position.

    Keras numbers unnamed layers over the whole process, which would make a variable's path, by
    which checkpoints and exports know it, depend on what was built before.
    """
    model = keras.Sequential(name=name)
    for k, layer in enumerate(layers):
        model.add(layer(name=f"layer{k}"))
    return model


def balle_analysis(filters: int, latents: int) -> keras.Sequential:
    """[B, H, W, 3] to y [B, H/16, W/16, latents] (Balle et al., ICLR 2018, Fig. 4)."""
    stage = [partial(DownConv2D, filters, 5), GDN]
    last = partial(DownConv2D, latents, 5, dtype="float32")
    return sequential([*stage, *stage, *stage, last], name="analysis")


def balle_synthesis(filters: int) -> keras.Sequential:
    """y_hat [B, H/16, W/16, M] to [B, H, W, 3]: the analysis mirrored."""
    stage = [partial(UpConv2D, filters, 5), partial(GDN, inverse=True)]
    last = partial(UpConv2D, 3, 5, dtype="float32")
    return sequential([*stage, *stage, *stage, last], name="synthesis")


@dataclasses.dataclass(frozen=True)
class Inside:
    """What a `ShortcutTransform` has inside.

    blocks: `TCMBlock`s at the coarsest of the widths, alternately shifted.
    wavelet: a wavelet convolution in place of each GDN (WeConvene), or "none".
    """

    blocks: int = 0
    wavelet: str = "none"


class ShortcutTransform(keras.layers.Layer):
    """Abstract: stages of the upper and the lower chain in the module's docstring.

    Args:
        conv, shortcut: of the chains, called with a stage's filters and options of a convolution.
        filters: channels after each stage; all but the last end in a normalization.
        norm: "gdn" or "igdn".
        arguments: those of the subclass, by name.
        widths: channels at H/2, H/4, .. between the stages: s = len(widths) + 1.
        options: fields of `Inside`, and of every layer.
    """

    def __init__(
        self,
        conv: partial,
        shortcut: partial,
        filters: tuple[int, ...],
        norm: str,
        arguments: dict[str, Any],
        widths: tuple[int, ...],
        **options: Any,
    ):
        names = [field.name for field in dataclasses.fields(Inside)]
        inside = Inside(**{name: options.pop(name) for name in names if name in options})
        super().__init__(**options)
        self.arguments, self.inside, self.widths = arguments, inside, tuple(widths)
        policy, inner = self.dtype_policy, len(filters) - 1
        # The last stage is float32: at a magnitude of 100, bfloat16 has steps of 0.5, and it cannot
        # tell 254 from 255.
        dtypes = [policy] * inner + ["float32"]
        starts = ["glorot_uniform"] * inner + ["zeros"]
        self.convs = [
            conv(f, kernel_initializer=s, dtype=d, name=f"conv{k}")
            for k, (f, d, s) in enumerate(zip(filters, dtypes, starts, strict=True))
        ]
        self.shortcuts = [
            shortcut(
                f,
                use_bias=False,
                kernel_initializer=keras.initializers.Orthogonal(seed=k),
                dtype=d,
                name=f"shortcut{k}",
            )
            for k, (f, d) in enumerate(zip(filters, dtypes, strict=True))
        ]
        self.norms = [
            _normalization(f, inside, norm, policy, k) for k, f in enumerate(filters[:-1])
        ]
        self.refine = [
            TCMBlock(16, shifted=k % 2 == 1, aligned=True, dtype=policy, name=f"block{k}")
            for k in range(inside.blocks)
        ]

    def stage(self, k: int, x: Tensor, linear: Tensor) -> tuple[Tensor, Tensor]:
        """(x, linear) behind stage k, two tensors."""
        linear = self.shortcuts[k](linear)
        x = self.convs[k](x)
        if k == len(self.norms):
            return x + linear, linear
        if self.inside.wavelet != "none":
            x = ops.leaky_relu(x, 0.125)
        return self.norms[k](x) + linear, linear

    def apply_blocks(self, x: Tensor) -> Tensor:
        """x behind the blocks."""
        for block in self.refine:
            x = block(x)
        return x

    def get_config(self) -> dict[str, Any]:
        inside = dataclasses.asdict(self.inside)
        return {**super().get_config(), **self.arguments, "widths": self.widths, **inside}


class ShortcutAnalysis(ShortcutTransform):
    """[B, H, W, 3] in [0, 1] to [B, H/2^s, W/2^s, latents], see the module's docstring.

    Args:
        widths, options: see `ShortcutTransform`.
        latents: channels of y.
        kernel_size: of the upper chain's convolutions.
    """

    def __init__(self, widths: tuple[int, ...], latents: int, kernel_size: int = 5, **options: Any):
        conv = partial(DownConv2D, kernel_size=kernel_size)
        shortcut = partial(DownConv2D, kernel_size=2)
        arguments = {"latents": latents, "kernel_size": kernel_size}
        super().__init__(conv, shortcut, (*widths, latents), "gdn", arguments, widths, **options)

    def call(self, x: Tensor) -> Tensor:
        x = linear = x - CENTRE
        for k, _ in enumerate(self.norms):
            x, linear = self.stage(k, x, linear)
        y, _ = self.stage(len(self.norms), self.apply_blocks(x), linear)
        return y


class ShortcutSynthesis(ShortcutTransform):
    """[B, H/2^s, W/2^s, M] to [B, H, W, channels]: the analysis mirrored, upsampling by sub-pixels.

    Args:
        widths, options: see `ShortcutTransform`.
        channels: of the output.
    """

    def __init__(self, widths: tuple[int, ...], channels: int = 3, **options: Any):
        conv = partial(SubpixelConv2D, kernel_size=3)
        shortcut = partial(SubpixelConv2D, kernel_size=1)
        arguments = {"channels": channels}
        super().__init__(
            conv, shortcut, (*widths[::-1], channels), "igdn", arguments, widths, **options
        )

    def call(self, y_hat: Tensor) -> Tensor:
        x, linear = self.stage(0, y_hat, y_hat)
        x = self.apply_blocks(x)
        for k in range(1, len(self.convs)):
            x, linear = self.stage(k, x, linear)
        return x + CENTRE


def _normalization(filters, inside, norm, policy, k):
    """GDN or its inverse, or the wavelet convolution that ends in it."""
    if inside.wavelet == "none":
        return GDN(inverse=norm == "igdn", order=1, dtype=policy, name=f"{norm}{k}")
    # High bands are sparse: 1x1 kernels, in both kinds of wavelet convolution.
    options = dict(high_kernel=1, order=1, aligned=True)
    return wavelet_conv(filters, inside.wavelet, None, norm, policy, f"weconv{k}", **options)


# Layers of the hyper networks, for `sequential`. Everything between y and a table index is float32
# whatever the policy: rates depend on it.


def conv(filters: int, kernel_size: int) -> partial:
    """Convolution of stride 1."""
    return partial(keras.layers.Conv2D, filters, kernel_size, padding="same", dtype="float32")


def down_conv(filters: int, kernel_size: int, use_bias: bool = True) -> partial:
    """Convolution of stride 2."""
    return partial(DownConv2D, filters, kernel_size, use_bias=use_bias, dtype="float32")


def up_conv(filters: int, kernel_size: int) -> partial:
    """Transposed convolution of stride 2."""
    return partial(UpConv2D, filters, kernel_size, dtype="float32")


def subpixel(filters: int) -> partial:
    """Sub-pixel 3x3 convolution of factor 2."""
    return partial(SubpixelConv2D, filters, dtype="float32")


def relu() -> partial:
    """ReLU."""
    return partial(keras.layers.ReLU, dtype="float32")


def leaky(slope: float) -> partial:
    """Leaky ReLU."""
    return partial(keras.layers.LeakyReLU, negative_slope=slope, dtype="float32")


def estimator(
    widths: tuple[int, ...], outputs: int, slope: float, name: str, use_bias: bool = False
) -> keras.Sequential:
    """1x1 convolutions from all that is known of a latent to `outputs` numbers of its prior.

    use_bias: of the last one; the papers' have none.
    """
    layers = []
    for width in widths:
        layers += [conv(width, 1), leaky(slope)]
    last = partial(keras.layers.Conv2D, outputs, 1, use_bias=use_bias, dtype="float32")
    return sequential([*layers, last], name=name)


def compact_hyper_features(filters: int, hyper_latents: int) -> HyperNetworks:
    """The hyper networks of the `compact` presets with a channel-wise model.

    As `mbt2018_mean.compact_hyper`, but the synthesis ends in features for the slices' nets:
    z_hat [B, h, w, hyper_latents] to [B, 4 h, 4 w, compact_features(filters)].
    """
    down = [conv(filters, 3), leaky(0.125), down_conv(filters, 5), leaky(0.125)]
    up = [subpixel(filters), leaky(0.125), subpixel(compact_features(filters)), leaky(0.125)]
    return HyperNetworks(
        hyper_latents,
        sequential([*down, down_conv(hyper_latents, 5)], name="hyper_analysis"),
        sequential(up, name="hyper_means"),
    )


def compact_features(filters: int) -> int:
    """Channels of the features that `compact_hyper_features` of so many filters gives."""
    return filters * 4 // 3


def compact_slices(
    cfg: Sizes, groups: list[Group], stride: int, bands: keras.layers.Layer | None = None
) -> ContextLatents:
    """y in slices between the hyper networks of the `compact` presets; stride: of y."""
    charm = partial(ChARM, groups, compact_features(cfg.filters), 0, name="charm")
    hyper = compact_hyper_features(cfg.filters, cfg.hyper_latents)
    return ContextLatents(hyper, charm, cfg.latents, bands, stride=stride)

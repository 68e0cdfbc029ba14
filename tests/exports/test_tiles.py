"""Laws of tiles: they cover a picture once, and give what the whole picture gives."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops, tree
from tiny_exports import BLOCKS

from tfcodec import codec, models, pictures
from tfcodec.coding import container
from tfcodec.errors import ModelError
from tfcodec.exports import loaded, tiles, write

# The systems, narrow: convolutions, wavelets, windows, pairs of latents, gates; small and large.
NARROW = {"filters": 8, "latents": 12}
COMPACT = {**NARROW, "widths": (8, 8, 8)}
KINDS = {
    ("mbt2018_mean", "compact"): COMPACT,
    ("mbt2018_mean", "n128"): NARROW,
    ("weconvene", "compact"): {**NARROW, "width": 8},
    ("weconvene3d", "compact"): {**NARROW, "width": 8},
    ("tcm", "compact"): {**COMPACT, "widths": (16, 16, 16)},
    ("tcm", "n64"): {"filters": 32, "latents": 10},
    ("octave", "compact"): {
        **{**BLOCKS, "filters": 8, "latents": 16, "hyper_filters": 8, "estimators": (8,)},
        "hyper_layers": 1,  # as good as two: neither lies between a picture and y
    },
    ("gllmm", "compact"): {**BLOCKS, "filters": 8, "latents": 8, "estimators": (8,)},
    ("icwem", "compact"): {**BLOCKS, "filters": 8, "latents": 12, "enhancement": 4},
}
SLOW = (("weconvene3d", "compact"), ("tcm", "n64"))  # eager layers by the hundred


def build(name, preset):
    """The model of a kind, weights away from the start, where some kernels are zero."""
    keras.utils.set_random_seed(0)
    config = models.config(name, preset, **KINDS[name, preset])
    model = models.module(name).build(config, name=name).build_weights()
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if weight.path.endswith("kernel"):
            weight.assign_add(random.normal(0, 0.03, weight.shape))
    return model


def picture(height, width, seed=0):
    """Smooth and noisy parts, uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    ramp = np.add.outer(np.linspace(0, 90, height), np.linspace(0, 90, width))
    return np.uint8(ramp[..., None] + random.integers(0, 75, [height, width, 3]))


@pytest.mark.parametrize("stride", [64, 128])
@pytest.mark.parametrize("margins", [(0, 0), (32, 16), (30, 30), (160, 152)])
@pytest.mark.parametrize("largest", [640, 1024])
def test_spans_keep_every_pixel_once_and_nothing_that_is_spoiled(stride, margins, largest):
    for side in range(stride, 6000, stride):
        found = tiles.spans(side, largest, margins, stride)
        assert [s.first for s in found] == [0, *(s.last for s in found[:-1])]
        assert found[-1].last == side
        assert len({s.stop - s.start for s in found}) == 1
        for span in found:
            assert 0 <= span.start and span.stop <= side and span.stop - span.start <= largest
            assert span.start % stride == 0 and span.first < span.last
            assert span.start == 0 or span.first >= span.start + margins[0]
            assert span.stop == side or span.last <= span.stop - margins[1]


@pytest.mark.parametrize("size", [(64, 64), (512, 768), (64, 64000), (4032, 6016), (10048, 10048)])
def test_tiles_stay_within_their_memory_and_waste_little(size):
    tiling = {"analysis": [32, 16], "synthesis": [30, 30], "bytes_per_pixel": 32}
    found = tiles.grid(*size, tiling, "synthesis", 64)
    areas = {(r.stop - r.start) * (c.stop - c.start) for r, c in found}
    assert max(areas) * 32 <= tiles.ACTIVATION_BYTES and len(areas) == 1
    assert sum((r.last - r.first) * (c.last - c.first) for r, c in found) == size[0] * size[1]
    assert len(found) * areas.pop() < 1.2 * size[0] * size[1]


def test_the_margins_of_strided_convolutions_are_those_of_the_formula():
    # Four 5x5 layers of stride 2: a latent is centred on its first pixel and sees 2 + 4 + 8 + 16
    # to each side, so those that lie 0 and 16 pixels behind a border see beyond it, and before it
    # the one at 16. A pixel sees latents 15 before it, and 30 behind.
    found = tiles.measure(build("mbt2018_mean", "n128"))
    assert found["analysis"] == [32, 16] and found["synthesis"] == [15, 30]
    assert found["bytes_per_pixel"] == 4 * 3  # the picture's: 8 channels at half its sides are less


def test_a_model_that_sees_the_whole_picture_has_no_tiles():
    model = build("mbt2018_mean", "n128")
    local = model.to_y
    model.to_y = lambda x, rung: local(x, rung) * ops.mean(x)
    assert tiles.measure(model) is None


@pytest.mark.parametrize(
    "name,preset",
    [pytest.param(*k, marks=[pytest.mark.slow] * (k in SLOW)) for k in KINDS],
)
def test_a_tile_gives_what_the_whole_gives_within_its_margins(name, preset):
    model, rung = build(name, preset), np.zeros([1], np.float32)
    tiling = tiles.measure(model)
    stride = model.stride

    def compare(network, whole, tile, margins, start, stop):
        """Checks each output; returns whether anything beyond the margins differs."""
        beyond = False
        pairs = zip(tree.flatten(network(whole)), tree.flatten(network(tile)), strict=True)
        for expected, found in pairs:
            expected, found = ops.convert_to_numpy(expected), ops.convert_to_numpy(found)
            step = (stop - start) // found.shape[2]
            expected = expected[:, :, start // step : stop // step]
            kept = slice(margins[0] // step, (stop - start - margins[1]) // step)
            size = np.abs(expected).max()
            np.testing.assert_allclose(found[:, :, kept], expected[:, :, kept], atol=1e-5 * size)
            difference = np.abs(found - expected).max(axis=(0, 1, 3)) / size
            beyond |= difference[: kept.start].max(initial=0) > 1e-3
        return beyond

    for part in ("analysis", "synthesis"):
        margins = tiling[part]
        length = tiles._up(sum(margins) + stride, stride)
        start, stop = stride, stride + length
        x = np.float32(picture(stride, length + 3 * stride)[None]) / 255
        if part == "analysis":
            inner = x[:, :, start:stop]
            assert compare(lambda x: model.to_y(x, rung), x, inner, margins, start, stop)
            continue
        y_hat, _ = model.rate(model.analysis(x, rung))
        flat = [
            a[:, :, start * a.shape[1] // stride : stop * a.shape[1] // stride]
            for a in tree.flatten(y_hat)
        ]
        inner = tree.pack_sequence_as(y_hat, flat)
        assert compare(lambda y: model.synthesis(y, rung), y_hat, inner, margins, start, stop)


@pytest.fixture(scope="module", params=["mbt2018_mean", "octave"])
def tiny(request, tmp_path_factory):
    """The codec of an export of one latent y, and of one of two."""
    folder = str(tmp_path_factory.mktemp("models") / "tiny")
    model = build(request.param, "compact")
    config = models.config(request.param, "compact", **KINDS[request.param, "compact"])
    return codec.Codec(write.write(model, folder, request.param, "compact", config))


@pytest.mark.parametrize("size", [(700, 900), (301, 1100)])
def test_a_tiled_picture_is_coded_as_a_whole_one(tiny, monkeypatch, size):
    source = pictures.from_array(picture(*size))
    whole = tiny.encode(source)
    shown = whole.reconstruction().rgb
    bytes_per_pixel = tiny.exported.tiling["bytes_per_pixel"]
    monkeypatch.setattr(tiles, "ACTIVATION_BYTES", 256 * 256 * bytes_per_pixel)
    told = []
    tiled = tiny.encode(source, progress=lambda done, count: told.append((done, count)))
    count = told[-1][1]
    assert count > 2 and told == [(k, count) for k in range(1, count + 1)]
    decoded = tiny.decode(container.unpack(tiled.data)).rgb
    np.testing.assert_array_equal(decoded, tiled.reconstruction().rgb)
    # Sums may take another order in a tile: hardly any latent lies so near to a half.
    assert np.mean(decoded != shown) < 1e-3
    assert abs(len(tiled.data) - len(whole.data)) <= 4
    # The control: without margins the seams are there.
    monkeypatch.setitem(tiny.exported.tiling, "synthesis", [0, 0])
    seams = tiny.exported.synthesis(tiled._y_hat, tiled.rung, *size)
    assert np.mean(seams != decoded) > 3e-3


def test_a_model_without_tiles_refuses_large_pictures(tiny, monkeypatch):
    monkeypatch.setattr(tiny.exported, "tiling", None)
    assert tiny.encode(pictures.from_array(picture(200, 200))).data
    monkeypatch.setattr(loaded, "UNTILED_PIXELS", 256 * 256 - 1)
    with pytest.raises(ModelError, match="tiny sees the whole picture at once, of at most 65535"):
        tiny.encode(pictures.from_array(picture(200, 200)))


def test_a_large_gray_picture_stays_gray(tiny, monkeypatch):
    monkeypatch.setattr(tiles, "ACTIVATION_BYTES", 2**16 * tiny.exported.tiling["bytes_per_pixel"])
    gray = dataclasses.replace(pictures.from_array(picture(300, 400)[..., 0]))
    decoded = tiny.decode(container.unpack(tiny.encode(gray).data))
    assert decoded.gray and decoded.rgb.flags.c_contiguous
    assert np.ptp(decoded.rgb, axis=2).max() == 0

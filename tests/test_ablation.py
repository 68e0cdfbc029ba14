"""What benchmarks/ablation.py compares: equal where it should be, different where it should be; and
what its tables say of results.
"""

import dataclasses
import functools
import importlib
import itertools
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from harness import check_prior

from tfcodec import complexity, models, pictures
from tfcodec.coding.mixtures import MixturePrior, binary_rows
from tfcodec.entropy.gaussian import GaussianDensity
from tfcodec.entropy.rate import RateMeter
from tfcodec.entropy.walk import walk
from tfcodec.errors import InputError
from tfcodec.models import blocks, starts
from tfcodec.models.starts import principal_components

ROOT = pathlib.Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))  # as where a benchmark is run
ablation, variants, parts = map(importlib.import_module, ("ablation", "variants", "variant_parts"))
FAMILIES = variants.FAMILIES
TINY = variants.Sizes(
    width=16,
    analysis_blocks=1,
    synthesis_blocks=1,
    latents=48,
    filters=12,
    hyper_latents=8,
    net_widths=(12, 12),
)
# Made of what others have: looked at slowly.
FURTHER = (
    "WeConv, WeChARM; 5/3",
    "3DM-WeConv, 3DWeChARM; 5/3",
    "octave, no cross-resolution estimation",
    "three Gaussians",
    "enhancement",
)
ALL = [
    pytest.param(family, name, marks=[pytest.mark.slow] if name in FURTHER else [])
    for family in FAMILIES
    for name in FAMILIES[family].variants
]


@functools.cache
def _crops():
    """Of a photograph, float32 [4, 128, 128, 3] in [0, 1]."""
    rgb = pictures.read(ROOT / "examples" / "kodim23.png").rgb
    places = itertools.product((64, 256), (100, 420))
    return np.stack([rgb[t : t + 128, s : s + 128] for t, s in places]) / np.float32(255)


@functools.cache
def _components(shape, data):
    return principal_components(np.frombuffer(data, np.float32).reshape(shape))


@pytest.fixture(scope="module", autouse=True)
def components_are_found_once():
    """The same crops have the same ones in all variants; to find them takes most of a start."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (starts, blocks):
            patch.setattr(
                module, "principal_components", lambda x: _components(x.shape, x.tobytes())
            )
        yield


@functools.cache
def _started(family, name):
    """What a narrow variant is, and does at the start: the shapes of its weights, and PSNR and bits
    of its first crop at the highest rung."""
    keras.utils.set_random_seed(0)
    model = FAMILIES[family].variants[name](TINY).build_weights()
    x = _crops()
    model.prepare(x)
    x_hat, bits = model(x[:1], np.float32([7.0]))
    return {
        "shapes": sorted(tuple(weight.shape) for weight in model.trainable_weights),
        "psnr": float(-10 * np.log10(np.mean(np.square(np.array(x_hat) - x[:1])))),
        "bits": [float(value[0]) for value in bits.values()],
    }


@pytest.mark.parametrize("family,name", ALL)
def test_every_variant_begins_as_a_linear_transform_codec(family, name):
    found = _started(family, name)
    assert np.all(np.isfinite(found["bits"])) and min(found["bits"]) >= 0
    assert found["psnr"] > 25 and sum(found["bits"]) < 4 * 128**2


@pytest.mark.parametrize("without", [FURTHER, pytest.param((), marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_two_variants_of_a_family_are_the_same(family, without):
    names = [name for name in FAMILIES[family].variants if name not in without]
    found = [_started(family, name) for name in names]
    for one, other in itertools.combinations(found, 2):
        assert one["shapes"] != other["shapes"] or abs(sum(one["bits"]) - sum(other["bits"])) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_variants_of_a_family_have_as_many_latents(family):
    sizes, counts = FAMILIES[family].sizes, set()
    for variant in FAMILIES[family].variants.values():
        y = [part for part in variant(sizes).parts if not part.name.startswith("z")]
        counts.add(sum(256 * part.channels / part.stride**2 for part in y))
    assert len(counts) == 1


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_variants_of_a_family_cost_about_the_same(family):
    models = (variant(FAMILIES[family].sizes) for variant in FAMILIES[family].variants.values())
    first, *others = (sum(complexity.macs_of_parts(model.build_weights())) for model in models)
    assert all(0.8 * first < cost < 1.25 * first for cost in others)


# Fields of the presets `compact` that are larger since a family's first runs were made.
SMALLER = {
    "weconvene": dict(width=96, slice_widths=(64, 48)),
    "weconvene3d": {},
    "octave": dict(width=128, filters=48, latents=160, hyper_filters=64, estimators=(64, 64)),
    "gllmm": dict(analysis_blocks=2, synthesis_blocks=2, latents=96),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "model,preset,family,name",
    [
        ("weconvene", "compact", "wavelet", "WeConv, WeChARM; Haar"),
        ("weconvene3d", "compact", "wavelet", "3DM-WeConv, 3DWeChARM; 9/7"),
        ("octave", "compact", "octave", "octave"),
        ("gllmm", "compact", "gllmm", "three Gaussians, three Laplacians, three logistics"),
    ],
)
def test_the_whole_variants_are_the_presets(model, preset, family, name):
    ours = FAMILIES[family].variants[name](FAMILIES[family].sizes).build_weights()
    theirs = models.build(model, preset, **SMALLER[model]).build_weights()
    weights = [
        {v.path.partition("/")[2]: tuple(v.shape) for v in codec.variables}
        for codec in (ours, theirs)
    ]
    assert weights[0] == weights[1] and ours.parts == theirs.parts


# ---------------------------------------------------------------------------------------- parts


def test_a_single_gaussian_is_a_prior_like_any_other():
    density = parts.Components(variants.ONE_GAUSSIAN)
    numbers = np.float32([[0.3, -20.4, 7.0], np.log([0.4, 1.5, 6.0])])

    def make(batch, first_row):
        maps = density.split(np.tile(numbers.reshape(1, 1, 1, -1), (batch, 1, 1, 1)))
        return density.prior(maps, first_row)

    def coded(prior):
        return MixturePrior(np.array(prior.indexes()), prior.mixture.first_row)

    check_prior(make, 3, binary_rows(), coded=coded, centred=False)


def test_fixed_components_have_no_weight():
    """Under one Gaussian bits are those of a Gaussian, and under all nine those of the mixture."""
    values = np.float32(np.arange(-6, 7)).reshape(-1, 1, 1, 1)
    one = parts.Components(variants.ONE_GAUSSIAN)
    numbers = np.broadcast_to(np.float32([0.3, np.log(1.5)]), [13, 1, 1, 2])
    gaussian = GaussianDensity()
    np.testing.assert_allclose(
        one.prior(one.split(numbers), 1).bits(values),
        gaussian.prior(gaussian.split(numbers), 1).bits(values),
        rtol=1e-4,
    )
    nine = parts.Components(variants.NINE)
    numbers = np.random.default_rng(0).normal(size=[13, 1, 1, 30]).astype(np.float32)
    np.testing.assert_allclose(
        nine.prior(nine.split(numbers), 1).bits(values),
        nine.whole.prior((numbers,), 1).bits(values),
        rtol=1e-5,
    )


def _checkerboard():
    """A `Checkerboard` that starts at a spread of 3, and integer latents [1, 4, 6, 5] for it."""
    keras.utils.set_random_seed(0)
    context = parts.Checkerboard(5, 4, 1, density=GaussianDensity(), widths=(6, 6))
    context.build()
    context.start_at(np.full([5], 3.0))
    return context, np.rint(np.random.default_rng(0).normal(0, 3, [1, 4, 6, 5])).astype("float32")


class _Walked:
    """A `Checkerboard` as the model of a walk, given the hyperprior's features."""

    def __init__(self, context):
        self.context, self.finish = context, context.finish
        self.means = np.random.default_rng(1).normal(size=[1, 4, 6, 4]).astype(np.float32)

    def step(self, k, state, symbols):
        return self.context.step(k, state if k else {"means": self.means}, symbols)


def test_the_checkerboard_gives_every_latent_its_place():
    context, y = _checkerboard()  # at the start means are zero
    y_hat = walk(_Walked(context), RateMeter(context.split(y), context.names))
    np.testing.assert_array_equal(y_hat, y)


def test_the_second_half_of_a_checkerboard_is_given_the_first_and_none_the_reverse():
    context, y = _checkerboard()
    for net in context.nets:
        net.convs[-1].kernel.assign_add(np.full(net.convs[-1].kernel.shape, 0.1))

    def means(y):
        meter = RateMeter(context.split(y), context.names)
        priors, step = [], _Walked(context).step
        state, symbols = {}, None
        for k in range(2):
            state, prior = step(k, state, symbols)
            priors.append(np.array(prior.mu))
            symbols = meter(k, prior)
        return priors

    (first, second), (row, column) = means(y), (2, 2)
    for shift, moved in (((0, 0), True), ((0, 1), False)):
        other = y.copy()
        other[0, row + shift[0], column + shift[1]] += 9
        again = means(other)
        np.testing.assert_array_equal(again[0], first)
        assert np.any(again[1] != second) == moved


# --------------------------------------------------------------------------------------- tables

PSNR = (28.0, 30.0, 32.0, 34.0)
BPP = np.array([0.1, 0.2, 0.4, 0.8])
FLAGS = ["octave", "--steps", "10", "--out"]


def _write(out, variant, seed, bpp, pictures=(9, 3)):
    """A made-up result of a variant of `octave` in the folder `out`."""
    jobs = ablation.make_jobs(ablation.read_flags([*FLAGS, str(out), "--table"]), variant)
    job = dataclasses.replace(jobs[0], seed=seed)
    points = [
        {"rung": k, "lambda": 0.01 * 2**k, "bpp": b, "psnr": p}
        for k, (b, p) in enumerate(zip(bpp, PSNR, strict=True))
    ]
    found = {
        **job.described(),
        "pictures": list(pictures),
        "parameters": 1_230_000,
        "macs": {"encoder": 4567.0, "decoder": 7654.0},
        "points": points,
    }
    folder = job.folder(str(out))
    folder.mkdir(parents=True)
    (folder / ablation.RESULT).write_text(json.dumps(found))


def _table(capsys, out, *more):
    assert ablation.main([*FLAGS, str(out), "--table", *more]) == 0
    text = capsys.readouterr().out
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return text, {name: rest for name, *rest in cells}


PLAIN, OCTAVE, ALONE, *_ = FAMILIES["octave"].variants


def test_rates_are_compared_seed_by_seed(tmp_path, capsys):
    """The second seed's anchor is twice the first's: other pairs would give +60 %, -55 %."""
    _write(tmp_path, PLAIN, 0, BPP)
    _write(tmp_path, PLAIN, 1, 2 * BPP)
    _write(tmp_path, OCTAVE, 0, 0.9 * BPP)
    _write(tmp_path, OCTAVE, 1, 0.8 * 2 * BPP)
    _write(tmp_path, ALONE, 1, 1.1 * 2 * BPP)
    text, cells = _table(capsys, tmp_path)
    assert cells[OCTAVE] == ["1.23 M", "4.6, 7.7", "0.5000", "32.00", "-15.0 ± 5.0 %"]
    assert cells[ALONE][-1] == "+10.0 % (1 of 2 seeds)"
    assert "the mean of two seeds ± half their difference" in text
    assert "5 of 10 runs are finished" in text and "9 pictures to train on" in text
    unfinished = [name for name in cells if cells[name][-1].endswith("not finished")]
    assert unfinished == list(FAMILIES["octave"].variants)[3:]


def test_of_three_seeds_the_spread_is_the_standard_deviation(tmp_path, capsys):
    for seed, factor in enumerate((1.01, 1.02, 1.03)):
        _write(tmp_path, PLAIN, seed, BPP)
        _write(tmp_path, OCTAVE, seed, factor * BPP)
    text, cells = _table(capsys, tmp_path, "--seeds", "0,1,2")
    assert cells[OCTAVE][-1] == "+2.0 ± 1.0 %"
    assert "the mean of 3 seeds ± their standard deviation" in text


def test_without_an_anchor_and_on_falling_curves_there_is_no_rate(tmp_path, capsys):
    _write(tmp_path, OCTAVE, 0, BPP)
    assert _table(capsys, tmp_path, "--seeds", "0")[1][OCTAVE][-1] == "no seed in common yet"
    _write(tmp_path, PLAIN, 0, BPP[::-1])
    assert "a curve falls" in _table(capsys, tmp_path, "--seeds", "0")[1][OCTAVE][-1]


def test_results_of_other_pictures_or_sizes_are_refused(tmp_path, monkeypatch):
    _write(tmp_path, PLAIN, 0, BPP)
    _write(tmp_path, OCTAVE, 0, BPP, pictures=(8, 3))
    with pytest.raises(SystemExit, match=r"different pictures, \[\(8, 3\), \(9, 3\)\]"):
        ablation.main([*FLAGS, str(tmp_path), "--table"])
    other = dataclasses.replace(FAMILIES["octave"], sizes=TINY)
    monkeypatch.setitem(FAMILIES, "octave", other)
    with pytest.raises(SystemExit, match="choose another --out"):
        ablation.main([*FLAGS, str(tmp_path), "--table"])


def test_an_unknown_variant_is_named_beside_the_known_ones(tmp_path):
    args = ablation.read_flags([*FLAGS, str(tmp_path), "--table"])
    with pytest.raises(InputError, match=f"no variant 'octaves'; there are {PLAIN}"):
        ablation.make_jobs(args, "octaves")


def test_a_finished_run_is_only_read_and_none_begins_after_the_time(tmp_path, monkeypatch, capsys):
    started = []

    class Process:
        def __init__(self, command, **options):
            job = json.loads(command[-1])["job"]
            started.append((job["variant"], job["seed"]))

        def wait(self, timeout):
            return 0

        def poll(self):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(ablation.signal, "signal", lambda *_: None)
    _write(tmp_path, PLAIN, 0, BPP)
    folder = str(ROOT / "examples")
    flags = [*FLAGS, str(tmp_path), "--data", folder, "--validation", folder]
    flags += ["--only", f"{PLAIN}|{OCTAVE}"]
    assert ablation.main([*flags, "--minutes", "0"]) == 0 and started == []
    assert ablation.main(flags) == 0
    assert started == [(OCTAVE, 0), (PLAIN, 1), (OCTAVE, 1)]


@pytest.mark.slow
def test_a_run_leaves_the_result_that_tables_are_made_of(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(FAMILIES, "octave", dataclasses.replace(FAMILIES["octave"], sizes=TINY))
    flags = ["octave", "--steps", "2", "--batch_size", "2", "--crop", "128", "--seeds", "0"]
    job, *_ = ablation.make_jobs(ablation.read_flags([*flags, "--table"]))
    photograph = str(ROOT / "examples" / "kodim23.png")
    other = tmp_path / "other.png"
    pictures.write(other, pictures.from_array(np.uint8(255 * _crops()[0])))
    try:
        order = {"job": dataclasses.asdict(job), "out": str(tmp_path), "steps_per_dispatch": 1}
        ablation.train({**order, "data": photograph, "validation": str(other)})
    finally:
        keras.config.set_dtype_policy("float32")
    found = job.result(str(tmp_path))
    assert found["pictures"] == [1, 1] and len(found["points"]) == 8
    assert all(np.isfinite(point["bpp"]) and point["psnr"] > 20 for point in found["points"])
    names = {path.name for path in job.folder(str(tmp_path)).iterdir()}
    assert {"weights", ablation.RESULT} <= names and not any("step-" in name for name in names)

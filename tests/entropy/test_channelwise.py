import dataclasses

import keras
import numpy as np
import pytest

from tfcodec.coding.range_coder import RangeDecoder, RangeEncoder
from tfcodec.coding.tables import CodingTables
from tfcodec.entropy import gaussian
from tfcodec.entropy.channelwise import ChARM, Group, even_slices
from tfcodec.entropy.walk import StepDecoder, StepEncoder, TablePrior, walk

HEIGHT, WIDTH = 4, 6
NARROW = dict(widths=(8, 6))
TABLES = {
    "ms2020": [
        Group(
            "y", (3,) * 4, support=2, kernels=(5, 5, 3), activation="relu", scale="index", **NARROW
        )
    ],
    "tcm": [Group("y", (3, 3, 2), attention="swin", **NARROW)],
    "weconvene": [
        Group("low", (2, 2), attention="residual", **NARROW),
        Group("high", (6, 3), given=("low",), attention="residual", **NARROW),
    ],
    "weconvene3d": [
        Group("low", (2, 2), **NARROW),
        Group("high", (4, 4), given=("low",), kernels=(1, 1, 1), **NARROW),
    ],
    "compact": [
        Group("low", (2, 1), activation="leaky", lrp=False, joint=True, scale="log", **NARROW),
        Group(
            "high", (3,), ("low",), activation="leaky", lrp=False, joint=True, scale="log", **NARROW
        ),
    ],
}


class Model:
    """An engine with random weights, given fixed maps of a hyperprior, as `walk.walk` sees it."""

    def __init__(self, groups, seed=0):
        keras.utils.set_random_seed(seed)
        self.context = ChARM(groups, mean_channels=5, scale_channels=5, first_row=1)
        self.context.build()
        rng = np.random.default_rng(seed)
        for weight in self.context.weights:
            if weight.path.endswith("bias"):
                weight.assign(rng.normal(0, 0.3, weight.shape))
        maps = rng.normal(0, 2, [2, 1, HEIGHT, WIDTH, 5]).astype(np.float32)
        self.maps = {"means": maps[0], "scales": maps[1]}

    def step(self, k, state, symbols):
        return self.context.step(k, state if k else dict(self.maps), symbols)

    def finish(self, state, symbols):
        return self.context.finish(state, symbols)

    def latents(self, seed=0):
        rng = np.random.default_rng(seed)
        return [
            rng.normal(0, 3, [1, HEIGHT, WIDTH, width]).astype(np.float32)
            for width in self.context.widths
        ]


@dataclasses.dataclass
class Rounder:
    """Visitor that codes latents, and keeps the priors."""

    latents: list

    def __post_init__(self):
        self.num_steps, self.priors = len(self.latents), []

    def __call__(self, k, prior):
        self.priors.append((np.array(prior.mu), np.array(prior.log_scale)))
        return np.rint(self.latents[k] - np.array(prior.mu)).astype(np.int32)


@pytest.fixture(scope="module", params=TABLES)
def model(request):
    return Model(TABLES[request.param])


def test_parameters_never_depend_on_later_slices(model):
    reference = Rounder(model.latents())
    walk(model, reference)
    for k in range(len(reference.latents)):
        changed = Rounder([y + 5.0 * (j >= k) for j, y in enumerate(reference.latents)])
        walk(model, changed)
        for j, (before, after) in enumerate(zip(reference.priors, changed.priors, strict=True)):
            same = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
            assert same or j > k, f"slice {j} sees slice {k}"


@dataclasses.dataclass
class Playback:
    """Visitor that returns given symbols, and keeps the priors."""

    symbols: list

    def __post_init__(self):
        self.num_steps, self.priors = len(self.symbols), []

    def __call__(self, k, prior):
        self.priors.append(np.concatenate([np.array(prior.mu), np.array(prior.log_scale)], -1))
        return self.symbols[k]


@pytest.mark.parametrize(
    "table,seen",
    [
        ("ms2020", {(1, 0), (2, 0), (2, 1), (3, 0), (3, 1)}),
        ("weconvene3d", {(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)}),
    ],
)
def test_a_slice_sees_its_support_and_nothing_else(table, seen):
    model = Model(TABLES[table])
    symbols = [np.rint(y).astype(np.int32) for y in model.latents()]
    reference = Playback(symbols)
    walk(model, reference)
    found = set()
    for k in range(len(symbols)):
        changed = Playback([s + 9 * (j == k) for j, s in enumerate(symbols)])
        walk(model, changed)
        pairs = zip(reference.priors, changed.priors, strict=True)
        found |= {(j, k) for j, (before, after) in enumerate(pairs) if np.any(before != after)}
    assert found == seen


def test_the_decoder_finds_the_encoders_latents_bit_for_bit(model):
    class Exported:
        def step(self, k, state, symbols):
            state, prior = model.step(k, state, symbols)
            return state, TablePrior(np.array(prior.mu), np.array(prior.indexes()))

        def finish(self, state, symbols):
            return np.array(model.finish(state, symbols))

    tables = CodingTables.build(gaussian.table_rows())
    encoder = RangeEncoder(tables)
    latents = model.latents()
    sent = walk(Exported(), StepEncoder(latents, encoder))
    streams, escapes = encoder.finish()
    decoder = RangeDecoder(tables, streams, escapes)
    received = walk(Exported(), StepDecoder([y.shape for y in latents], decoder))
    np.testing.assert_array_equal(received, sent)
    # Rounding costs at most 1/2, and the prediction of its error at most as much again.
    assert np.abs(sent - np.concatenate(latents, axis=-1)).max() <= 1 + 1e-5


def test_sigma_in_its_three_forms_is_the_same_gaussian():
    forms = {}
    for form in ("sigma", "log", "index"):
        (group,) = TABLES["ms2020"]
        model = Model([dataclasses.replace(group, slices=(2,), scale=form)])
        scale = model.context.slices[0].scale
        scale.convs[-1].kernel.assign(np.zeros(scale.convs[-1].kernel.shape))
        step = np.log(256 / 0.11) / 63
        value = {"sigma": 0.11 * np.exp(20 * step), "log": np.log(0.11) + 20 * step, "index": 20.0}
        scale.convs[-1].bias.assign([value[form], -7.0])
        _, prior = model.step(0, {}, None)
        forms[form] = np.array(prior.log_scale)[..., 0]
        assert np.array(prior.indexes())[..., 1].max() == 1  # far below the least sigma: row 1
    np.testing.assert_allclose(forms["sigma"], forms["log"], rtol=1e-5)
    np.testing.assert_allclose(forms["index"], forms["log"], rtol=1e-5)


def test_even_slices_add_up_and_differ_by_one_at_most():
    assert even_slices(320, 5) == (64,) * 5
    assert even_slices(12, 5) == (3, 3, 2, 2, 2)
    assert all(sum(even_slices(c, n)) == c for c in (7, 64, 191) for n in (1, 3, 7))


def test_start_at_sets_sigma_to_the_spread_whatever_the_context():
    model = Model(TABLES["compact"])
    spread = np.float32([0.5, 1, 2, 4, 8, 16])
    model.context.start_at(spread)
    visitor = Rounder(model.latents())
    walk(model, visitor)
    sigma = np.concatenate([np.exp(s)[0, 0, 0] for _, s in visitor.priors])
    np.testing.assert_allclose(sigma, spread + gaussian.SCALE_MIN, rtol=1e-5)
    assert not any(mu.any() for mu, _ in visitor.priors)


def test_a_single_slice_is_the_whole_latent():
    y = np.random.default_rng(0).normal(size=[1, 2, 3, 5]).astype(np.float32)
    charm = ChARM([Group.convolutions("y", (5,))], 4, 0, first_row=1)
    (only,) = charm.split(y)
    np.testing.assert_array_equal(only, y)


def test_a_group_cannot_be_given_one_that_comes_later():
    with pytest.raises(ValueError) as error:
        ChARM([Group("low", (2,), given=("high",)), Group("high", (2,))], 4, 4, 1)
    assert str(error.value) == "group 'low' is given 'high', which is not decoded before it"

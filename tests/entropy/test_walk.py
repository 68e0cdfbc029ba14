"""The walk, on two small models that no paper has: channel slices, and wavefronts."""

import math
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from tfcodec.coding.range_coder import RangeDecoder, RangeEncoder
from tfcodec.coding.tables import CodingTables
from tfcodec.entropy import gaussian
from tfcodec.entropy.factorized import Factorized, FactorizedPrior
from tfcodec.entropy.gaussian import Gaussian
from tfcodec.entropy.rate import RateMeter
from tfcodec.entropy.walk import (
    CODINGS,
    LatentShapes,
    Part,
    StepDecoder,
    StepEncoder,
    TablePrior,
    read_parts,
    walk,
)
from tfcodec.exports import installed

HEIGHT, WIDTH = 16, 24  # of y
HYPER = 4  # channels of z
FIRST_ROW = 1


class Sliced(keras.Model):
    """z | y slice 0 | .. | y slice 3: each from z_hat and the slices decoded before it."""

    slices, channels = 4, 3
    names = ("z", "y", "y", "y", "y")
    shapes = ((1, HEIGHT // 4, WIDTH // 4, HYPER),) + ((1, HEIGHT, WIDTH, channels),) * slices

    def __init__(self):
        super().__init__()
        self.prior = FactorizedPrior(init_scale=4.0)
        self.prior.build((None, None, None, HYPER))
        start = keras.initializers.RandomNormal(0.0, 0.15, seed=1)
        options = dict(padding="same", kernel_initializer=start)
        self.hyper = keras.layers.Conv2DTranspose(8, 5, strides=4, **options)
        self.contexts = [keras.layers.Conv2D(2 * self.channels, 3, **options) for _ in range(4)]

    def table_rows(self):
        return self.prior.table_rows() + gaussian.table_rows()

    def step(self, k, state, symbols):
        if k == 0:
            return state, Factorized(self.prior, FIRST_ROW)
        if k == 1:
            z_hat = ops.cast(symbols, "float32") + self.prior.medians
            state = {"features": self.hyper(z_hat)}
        else:
            state = self._decoded(state, symbols)
        support = [v for name, v in state.items() if name != "mu"]
        context = 2 * ops.tanh(self.contexts[k - 1](ops.concatenate(support, axis=-1)))
        log_scale, mu = ops.split(context, 2, axis=-1)
        return {**state, "mu": mu}, Gaussian(mu, log_scale, FIRST_ROW + HYPER)

    def finish(self, state, symbols):
        state = self._decoded(state, symbols)
        return ops.concatenate([state[f"slice{k}"] for k in range(self.slices)], axis=-1)

    @staticmethod
    def _decoded(state, symbols):
        done = sum(name.startswith("slice") for name in state)
        return {**state, f"slice{done}": ops.cast(symbols, "float32") + state["mu"]}


class Wavefronts(keras.Model):
    """Rows of y from top to bottom: one function, which takes its number from the state."""

    channels = 3
    names = ("y",) * HEIGHT
    shapes = ((1, 1, WIDTH, channels),) * HEIGHT

    def __init__(self):
        super().__init__()
        start = keras.initializers.RandomNormal(0.0, 0.3, seed=1)
        self.context = keras.layers.Conv2D(
            2 * self.channels, (2, 3), padding="same", kernel_initializer=start
        )

    def table_rows(self):
        return gaussian.table_rows()

    def step(self, k, state, symbols):
        if symbols is None:
            y_hat = ops.zeros((1, HEIGHT, WIDTH, self.channels))
            state = {"number": ops.convert_to_tensor(0), "y_hat": y_hat}
        else:
            state = {"number": state["number"] + 1, "y_hat": self.finish(state, symbols)}
        above = ops.pad(state["y_hat"], [(0, 0), (2, 0), (0, 0), (0, 0)])
        zero = ops.zeros_like(state["number"])
        window = ops.slice(above, [zero, state["number"], zero, zero], [1, 2, WIDTH, self.channels])
        log_scale, mu = ops.split(2 * ops.tanh(self.context(window)[:, :1]), 2, axis=-1)
        return {**state, "mu": mu}, Gaussian(mu, log_scale, FIRST_ROW)

    def finish(self, state, symbols):
        row = ops.cast(symbols, "float32") + state["mu"]
        here = ops.arange(HEIGHT)[None, :, None, None] == state["number"]
        return ops.where(here, row, state["y_hat"])


class Exported:
    """A model as the codec sees it: priors are arrays of mu and table rows."""

    def __init__(self, model):
        self.model = model

    def step(self, k, state, symbols):
        state, prior = self.model.step(k, state, symbols)
        return state, TablePrior(np.array(prior.mu), np.array(prior.indexes()))

    def finish(self, state, symbols):
        return np.array(self.model.finish(state, symbols))


class Sampler:
    """Visitor that draws each step's latents from the model's own prior, and keeps them."""

    def __init__(self, shapes, seed):
        self.shapes, self.num_steps = shapes, len(shapes)
        self.rng = np.random.default_rng(seed)
        self.latents = []

    def __call__(self, k, prior):
        sigma = np.exp(prior.log_scale) if isinstance(prior, Gaussian) else 3.0
        noise = sigma * self.rng.standard_normal(self.shapes[k])
        self.latents.append(np.float32(np.array(prior.mu) + noise))
        return np.rint(noise).astype(np.int32)


class Listener:
    """Visitor that does what another does, and keeps the priors that it was shown."""

    def __init__(self, code):
        self.code, self.num_steps, self.priors = code, code.num_steps, []

    def __call__(self, k, prior):
        self.priors.append(prior)
        return self.code(k, prior)


class Paper:
    """A coder that writes nothing down."""

    def write(self, indexes, symbols):
        assert indexes.dtype == symbols.dtype == np.int32 and indexes.shape == symbols.shape


def _sample(model, seed=0):
    sampler = Sampler(model.shapes, seed)
    walk(model, sampler)
    return sampler.latents


@pytest.fixture(scope="module", params=[Sliced, Wavefronts])
def model(request):
    return request.param()


@pytest.mark.parametrize("lanes", [1, 8])
def test_the_decoder_finds_the_encoders_latents_bit_for_bit(model, lanes):
    tables = CodingTables.build(model.table_rows())
    encoder = RangeEncoder(tables, lanes)
    encode = StepEncoder(_sample(model), encoder)
    sent = walk(Exported(model), encode)
    streams, escapes = encoder.finish()

    decoder = RangeDecoder(tables, streams, escapes)
    decode = StepDecoder(model.shapes, decoder)
    received = walk(Exported(model), decode)
    decoder.finish()
    np.testing.assert_array_equal(received, sent)
    for there, here in zip(encode.symbols, decode.symbols, strict=True):
        np.testing.assert_array_equal(here, there)


def test_the_stream_is_as_long_as_the_meter_says(model):
    latents = _sample(model)
    meter = RateMeter(latents, model.names)
    y_hat = walk(model, meter)
    encoder = RangeEncoder(CodingTables.build(model.table_rows()))
    sent = walk(Exported(model), StepEncoder(latents, encoder))
    (stream,), escapes = encoder.finish()
    np.testing.assert_allclose(y_hat, sent, atol=1e-5)
    estimate = sum(float(bits[0]) for bits in meter.bits.values()) / 8
    assert len(stream) + 2 * len(escapes) == pytest.approx(estimate, rel=5e-3, abs=4)


def test_the_meter_sees_the_parts_apart_and_the_latents_near(model):
    latents = _sample(model)
    meter = RateMeter(latents, model.names, keys=np.uint32([7]))
    y_hat = np.array(walk(model, meter))
    assert list(meter.bits) == list(dict.fromkeys(model.names))
    y = [v for v, name in zip(latents, model.names, strict=True) if name == "y"]
    y = np.concatenate(y, axis=-1 if isinstance(model, Sliced) else 1)
    assert np.abs(y_hat - y).max() <= 0.5 + 1e-5


def test_no_prior_depends_on_latents_that_come_later(model):
    latents = _sample(model)
    reference = Listener(StepEncoder(latents, Paper()))
    walk(Exported(model), reference)
    for k in range(0, len(latents), max(1, len(latents) // 5)):
        others = [v if j < k else v + 3.0 for j, v in enumerate(latents)]
        changed = Listener(StepEncoder(others, Paper()))
        walk(Exported(model), changed)
        for before, after in zip(reference.priors[: k + 1], changed.priors[: k + 1], strict=True):
            np.testing.assert_array_equal(after.mu, before.mu)
            np.testing.assert_array_equal(after.indexes, before.indexes)
        later = zip(reference.priors[k + 1 :], changed.priors[k + 1 :], strict=True)
        assert k + 1 == len(latents) or any(np.any(a.mu != b.mu) for a, b in later)


@pytest.mark.parametrize("value,symbol", [(1e9, 32767), (-np.inf, -32767), (np.nan, 0)])
def test_latents_of_a_broken_model_become_symbols_that_a_coder_takes(value, symbol):
    encode = StepEncoder([np.float32([[[[value]]]])], Paper())
    coded = encode(
        0, TablePrior(np.zeros([1, 1, 1, 1], np.float32), np.ones([1, 1, 1, 1], np.int32))
    )
    assert coded == symbol and coded.dtype == np.int32


def test_outliers_travel_as_escapes():
    model = Sliced()
    latents = _sample(model)
    latents[2][0, 3, 4, 1] += 5000
    tables = CodingTables.build(model.table_rows())
    encoder = RangeEncoder(tables)
    sent = walk(Exported(model), StepEncoder(latents, encoder))
    streams, escapes = encoder.finish()
    assert any(abs(v - 5000) < 50 for v in escapes)
    decoder = RangeDecoder(tables, streams, escapes)
    received = walk(Exported(model), StepDecoder(model.shapes, decoder))
    np.testing.assert_array_equal(received, sent)


def test_the_walk_needs_neither_tensorflow_nor_keras():
    code = (
        "import sys, tfcodec.entropy.walk; "
        "print(sorted({'tensorflow', 'keras', 'jax'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_samples_are_worth_coding(model):
    meter = RateMeter(_sample(model), model.names)
    walk(model, meter)
    size = sum(math.prod(shape) for shape in model.shapes)
    assert 1 < sum(float(bits[0]) for bits in meter.bits.values()) / size < 6


# -------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("info", installed.models(), ids=lambda info: info.name)
def test_parts_are_written_as_fingerprints_know_them(info):
    steps = info.config["steps"]
    assert repr([part.to_json() for part in read_parts(steps)]) == repr(steps)


def test_a_part_says_in_json_what_is_not_as_usual_and_in_one_order():
    mixtures = Part("y", 16, 96, coding="mixture", first_row=49, wavefront=True)
    assert list(mixtures.to_json()) == [
        "name",
        "stride",
        "channels",
        "wavefront",
        "coding",
        "first_row",
    ]
    assert read_parts([mixtures.to_json()]) == (mixtures,)
    with pytest.raises(ValueError, match="'y' is coded as 'new', .* it knows table, mixture"):
        read_parts([{"name": "y", "stride": 16, "channels": 8, "coding": "new"}])


def test_latents_of_any_size_lie_where_the_strides_say():
    parts = Part("z", 64, 5), Part("y", 16, 3), Part("w", 16, 2, wavefront=True)
    latents = LatentShapes(parts, 64)
    assert latents.padded(1, 65) == [64, 128]
    z, y, *fronts = latents.shapes(1, 65)
    assert (z, y) == ((1, 1, 2, 5), (1, 4, 8, 3))
    assert {front[3] for front in fronts} == {2} and len(fronts) > 8


def test_codings_have_a_twin_inside_graphs():
    from tfcodec.serving.walk import CODINGS as TWINS

    assert TWINS.keys() == CODINGS.keys()

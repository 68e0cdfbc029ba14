from functools import partial

import keras
import numpy as np
import pytest

from tfcodec import models
from tfcodec.entropy.latents.hyperprior import ContextLatents
from tfcodec.entropy.quadtree import STEPS, Quadtree, put, take, turns
from tfcodec.entropy.walk import walk
from tfcodec.models import starts
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.transforms import (
    ShortcutAnalysis,
    ShortcutSynthesis,
    compact_features,
    compact_hyper_features,
)

CHANNELS, FEATURES = 6, 5


@pytest.fixture(scope="module")
def context():
    keras.utils.set_random_seed(0)
    layer = Quadtree(CHANNELS, FEATURES, first_row=1, widths=(7, 8), name="context")
    layer.build()
    for weight in layer.weights:
        weight.assign(np.random.default_rng(0).normal(0, 0.2, weight.shape))
    return layer


class Model:
    """What `walk` needs, around the context alone."""

    def __init__(self, context, features):
        self.context, self.features = context, features

    def step(self, k, state, symbols):
        return self.context.step(k, state or {"means": self.features}, symbols)

    def finish(self, state, symbols):
        return self.context.finish(state, symbols)


class Rounding:
    """Visitor that rounds, and keeps what each step's prior says."""

    num_steps = STEPS

    def __init__(self, latents):
        self.latents, self.priors, self.symbols = latents, [], []

    def __call__(self, k, prior):
        self.priors.append([np.array(prior.mu), np.array(prior.log_scale)])
        self.symbols.append(np.rint(self.latents[k] - np.array(prior.mu)).astype(np.int32))
        return self.symbols[-1]


def _walk(context, y, features):
    visitor = Rounding([np.array(part) for part in context.split(y)])
    return np.array(walk(Model(context, features), visitor)), visitor


def _pictures(height=8, width=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 5, [1, height, width, CHANNELS]).astype(np.float32)
    return y, rng.normal(size=[1, height, width, FEATURES]).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3, 4, 10])
def test_every_position_and_channel_has_its_turn_once(channels):
    masks = turns(channels)
    np.testing.assert_array_equal(masks.sum(axis=0), np.ones([2, 2, channels]))
    np.testing.assert_array_equal(masks.sum(axis=(1, 2)), np.ones([STEPS, channels]))


def test_what_is_taken_and_put_back_is_the_latent():
    y, _ = _pictures()
    masks = turns(CHANNELS)
    parts = [take(y, turn) for turn in masks]
    assert all(part.shape == (1, 4, 2, CHANNELS) for part in parts)
    whole = sum(np.array(put(part, turn)) for part, turn in zip(parts, masks, strict=True))
    np.testing.assert_array_equal(whole, y)
    assert not np.array(take(put(parts[0], masks[0]), masks[1])).any()


def test_the_walk_returns_the_latent_rounded_around_its_means(context):
    y, features = _pictures()
    y_hat, visitor = _walk(context, y, features)
    assert np.abs(y_hat - y).max() <= 0.5 + 1e-5
    again = [np.array(part) for part in context.split(y_hat)]
    for part, symbols, (mu, _) in zip(again, visitor.symbols, visitor.priors, strict=True):
        np.testing.assert_allclose(part, symbols + mu, atol=1e-5)


def test_a_step_depends_on_earlier_ones_and_on_no_later_one(context):
    y, features = _pictures()
    _, visitor = _walk(context, y, features)
    for changed in range(STEPS):
        other = y + 40.0 * np.array(put(np.ones([1, 4, 2, CHANNELS]), turns(CHANNELS)[changed]))
        _, told = _walk(context, other.astype(np.float32), features)
        for k, (one, two) in enumerate(zip(visitor.priors, told.priors, strict=True)):
            same = all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
            assert same == (k <= changed), (changed, k)


def test_coding_starts_at_the_spread_whatever_the_context(context):
    spread = np.float32([0.5, 1, 2, 4, 8, 16])
    copy = Quadtree(CHANNELS, FEATURES, first_row=1, widths=(7, 8), name="copy")
    copy.build()
    copy.start_at(spread)
    y, features = _pictures()
    _, visitor = _walk(copy, y, features)
    for mu, log_scale in visitor.priors:
        assert not mu.any()
        np.testing.assert_allclose(np.exp(log_scale[0, 0, 0]), spread + 0.11, rtol=1e-5)


def test_any_codec_can_use_it():
    """The mean-scale hyperprior's compact transforms, with this context in place of none."""
    latents, filters = 8, 6
    context = partial(Quadtree, latents, compact_features(filters), widths=(8, 8), name="context")
    model = CodecModel(
        ShortcutAnalysis((4, 4, 4), latents, name="analysis"),
        ShortcutSynthesis((4, 4, 4), name="synthesis"),
        ContextLatents(compact_hyper_features(filters, 4), context, latents),
        lambdas=LADDER,
        gain_level=16.0,
        start=starts.principal,
        name="mixed",
    ).build_weights()
    x = np.random.default_rng(0).random([2, 64, 128, 3], dtype=np.float32)
    model.prepare(x)
    x_hat, code = model.forward(x, np.float32([0, 7]))
    assert x_hat.shape == x.shape
    assert [tuple(a.shape[1:]) for a in code.latents] == [(1, 2, 4)] + [(2, 4, latents)] * STEPS
    assert len(model.entropy_chains()) == 1 + STEPS


def test_quad_is_in_the_zoo_with_a_small_and_a_large_preset():
    assert set(models.module("quad").PRESETS) == {"small", "base", "large"}

"""An exported model as a service: file bytes in, pictures out, on an unmodified TF Serving.

`export` writes a folder that is an export like any other, with signatures beside the steps:

    decode (default)  files_bytes [B]                 -> png_bytes [B], error [B]
    encode            images_bytes [B], quality [B]   -> files_bytes [B], error [B]
    decode_one        files_bytes []                  -> png_bytes []
    encode_one        images_bytes [], quality []     -> files_bytes []

The first two never raise: a server merges requests, and a bad one must not fail the others; its
picture is empty and its `error` a sentence. The last two raise InvalidArgument. All of it is stock
TensorFlow: the walk of `entropy.slices` with the exported steps, `coding.stock_coder` and
`coding.stock_container`, traced into one graph. docs/serving.md is for those who run it.
"""

import contextlib
import dataclasses
import functools
import json
import math
import os
import shutil

import numpy as np
import tensorflow as tf
from keras import ops

from tfcodec import codec
from tfcodec.coding import mixtures, wavefront
from tfcodec.coding.format import (
    MAX_BYTES_PER_PIXEL,
    MAX_LANES,
    MAX_SYMBOL,
    QUALITY_STEPS,
    SERVING_SYMBOLS,
    padded,
)
from tfcodec.entropy.walk import walk
from tfcodec.errors import InputError, ModelError
from tfcodec.exports import installed, weights
from tfcodec.serving import container as stock_container
from tfcodec.serving.coder import StockDecoder, StockEncoder, StockTables
from tfcodec.serving.container import Faults
from tfcodec.serving.mixtures import MAX_QUESTIONS, StockMixturePrior

DEFAULT_MAX_PIXELS = 2**23  # a decode takes some 210 bytes of memory a pixel
DEFAULT_MAX_TURNS = 2**19  # of the decoder's loop: about 10 s of one core
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = 33
_IDAT, _IEND, _TRNS = (int.from_bytes(kind, "big") for kind in (b"IDAT", b"IEND", b"tRNS"))
WARMUP = "assets.extra/tf_serving_warmup_requests"


def export(info, directory, max_pixels=DEFAULT_MAX_PIXELS, max_turns=DEFAULT_MAX_TURNS, xla=False):
    """Writes the export `info` with signatures for TF Serving; `directory` must not exist.

    Args:
        max_pixels: larger pictures are refused.
        max_turns: files of few lanes need many turns of the decoder's loop; beyond, they are
            refused. A turn takes 15 to 30 microseconds.
        xla: compile the coder's loops. TF Serving then needs `--xla_cpu_compilation_enabled=true`,
            and every new size of pictures compiles for a second.
    Returns: the `ModelInfo` of the new folder.
    Raises: ModelError if `info` is incomplete; InputError if the folder exists or cannot be made.
    """
    directory = os.path.normpath(directory)
    partial = directory + ".partial"
    if os.path.exists(directory):
        raise InputError(f"{directory}: exists already; remove it or choose another folder")
    server = Server(codec.Codec(info), max_pixels, max_turns, xla)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        os.makedirs(partial)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written ({error.strerror})") from error
    version = os.path.join(partial, "1")
    signatures = {
        name: getattr(server, name) for name in ("decode", "encode", "decode_one", "encode_one")
    }
    tf.saved_model.save(server, version, {"serving_default": server.decode, **signatures})
    _write_warmup(os.path.join(version, WARMUP), info.name, server, max_pixels)
    arrays = weights.stored_weights(info)
    described = {
        **info.config,
        "serving": {"max_pixels": max_pixels, "max_turns": max_turns, "xla": xla},
        "weights": weights.places(version, arrays),
    }
    described.pop("default", None)
    _write(os.path.join(partial, "config.json"), json.dumps(described, indent=1) + "\n")
    _write(os.path.join(partial, "models.config"), _MODELS_CONFIG.format(name=info.name))
    _write(os.path.join(partial, "batching.config"), _BATCHING_CONFIG)
    with contextlib.suppress(FileNotFoundError):
        shutil.copy(os.path.join(info.path, "card.md"), partial)
    os.rename(partial, directory)
    return installed.read_info(directory)


class Server(tf.Module):
    """What is saved: the exported functions, and those of the signatures around them.

    Args: see `export`; the model is a `codec.Codec`.
    """

    def __init__(self, model, max_pixels, max_turns, xla):
        super().__init__()
        self._config, self._exported = model.info.config, model.exported
        self._fingerprint = np.frombuffer(model.info.fingerprint, np.uint8)
        self._max_pixels, self._max_turns, self._xla = max_pixels, max_turns, xla
        self._max_bytes = min(MAX_BYTES_PER_PIXEL * max_pixels, 2**31 - 1)
        self._rungs = np.float32([model.rung(byte) for byte in range(256)])

        loaded = model.exported.module
        names = ("weights", "to_y", "to_latents", "analysis", "estimate", "steps", "finish")
        for name in (*names, "synthesis", "tables"):
            setattr(self, name, getattr(loaded, name))
        self.bisected, rows = _bisected(self._exported)
        self.stock_tables = StockTables(model.exported.tables, rows)
        if any(_is_mixture(part) for part in self._exported.parts):
            self.family_tables = tf.Variable(mixtures.family_tables(), trainable=False)

        text, number = tf.string, tf.float32
        # Traced once, and called by the signatures of one and of many.
        self._decode_file = self._signature(self._decode, data=([], text))
        self._encode_picture = self._signature(self._encode, data=([], text), quality=([], number))
        self.decode = self._signature(self._decode_many, files_bytes=([None], text))
        self.decode_one = self._signature(self._decode_one, files_bytes=([], text))
        self.encode = self._signature(
            self._encode_many, images_bytes=([None], text), quality=([None], number)
        )
        self.encode_one = self._signature(
            self._encode_one, images_bytes=([], text), quality=([], number)
        )

    def _signature(self, function, **inputs):
        specs = [tf.TensorSpec(*spec, name=name) for name, spec in inputs.items()]
        return tf.function(function, autograph=False, input_signature=specs)

    def _decode_many(self, files_bytes):
        png, error = _each(self._decode_file, files_bytes)
        return {"png_bytes": png, "error": error}

    def _decode_one(self, files_bytes):
        png, error = self._decode_file(files_bytes)
        return {"png_bytes": _raising(png, error)}

    def _encode_many(self, images_bytes, quality):
        data, error = _each(self._encode_picture, images_bytes, quality)
        return {"files_bytes": data, "error": error}

    def _encode_one(self, images_bytes, quality):
        data, error = self._encode_picture(images_bytes, quality)
        return {"files_bytes": _raising(data, error)}

    # ------------------------------------------------------------------------------- decode

    def _decode(self, data):
        """(PNG, error) of the bytes of a file; strings, one of them empty."""
        fields, error = stock_container.unpack(data, self._max_pixels, self._max_bytes)
        faults = Faults(error)
        same = tf.reduce_all(fields["fingerprint"] == self._fingerprint)
        faults.check(
            same,
            "was written by a model with another fingerprint than "
            f"{self._config['fingerprint']}, which {self._config['name']} has here",
        )
        profile = self._config["profile"]
        faults.check(
            fields["profile"] == profile,
            *("needs arithmetic profile ", fields["profile"], f", this model has {profile}"),
        )
        shapes = self._shapes(fields["height"], fields["width"])
        lanes = tf.size(fields["lengths"], tf.int64)
        turns = self._turns(shapes, lanes)
        faults.check(
            turns <= self._max_turns,
            *("its ", lanes, " lanes need ", turns, " turns of the decoder, at most "),
            f"{self._max_turns} are taken; encode it with more lanes",
        )
        return faults.go_on(lambda: self._decode_sound(fields, shapes))

    def _decode_sound(self, fields, shapes):
        height, width = fields["height"], fields["width"]
        has_alpha = tf.strings.length(fields["alpha"]) > 0
        alpha, error = tf.cond(
            has_alpha,
            lambda: _read_alpha(fields["alpha"], height, width),
            lambda: (tf.zeros([0, 0, 1], tf.uint8), tf.constant("")),
        )

        def symbols_too():
            decoder = StockDecoder(
                self.stock_tables,
                *(fields[name] for name in ("payload", "lengths", "escapes")),
                compiled=self._xla,
            )
            visitor = _GraphDecoder(decoder, self._exported.parts, [shape for _, shape in shapes])
            y_hat = walk(_ExportedInGraph(self, visitor, shapes), visitor)
            faults = Faults()
            used, there = decoder.finish(), tf.size(fields["escapes"])
            faults.check(
                used == there,
                "the symbols need ",
                used,
                " escapes, ",
                there,
                " are there; damaged?",
            )
            faults.check(
                stock_container.symbols_checksum(visitor.symbols) == fields["checksum"],
                f"the decoded symbols differ from the encoder's; the file is damaged, or "
                f"{self._config['name']} computes otherwise here (another processor or TensorFlow)",
            )
            return faults.go_on(
                lambda: (self._png(y_hat, fields, has_alpha, alpha), tf.constant(""))
            )

        faults = Faults(error)
        return faults.go_on(symbols_too)

    def _png(self, y_hat, fields, has_alpha, alpha):
        rung = tf.gather(self._rungs, fields["quality"])
        rgb = self.synthesis(y_hat, rung[None])[0, : fields["height"], : fields["width"]]
        # As codec.synthesize: the three channels estimate one value.
        mean = (tf.reduce_sum(tf.cast(rgb, tf.int32), axis=2, keepdims=True) + 1) // 3
        color = tf.cond(fields["gray"], lambda: tf.cast(mean, tf.uint8), lambda: rgb)
        pixels = tf.cond(has_alpha, lambda: tf.concat([color, alpha], 2), lambda: color)
        return tf.io.encode_png(pixels, compression=3)  # 6 % larger than 6, four times as fast

    # ------------------------------------------------------------------------------- encode

    def _encode(self, data, quality):
        """(file, error) of the bytes of a PNG or JPEG; strings, one of them empty."""
        faults = Faults()
        size = tf.strings.length(data)
        faults.check(
            size <= self._max_bytes,
            *("the picture has ", size, f" bytes, at most {self._max_bytes} are taken"),
        )
        byte = self._quality_byte(quality, faults)
        return faults.go_on(lambda: self._encode_bytes(data, byte))

    def _encode_bytes(self, data, byte):
        pixels, color_only, error = _read_picture(data, self._max_pixels)
        faults = Faults(error)
        return faults.go_on(lambda: (self._file(pixels, color_only, byte), tf.constant("")))

    def _file(self, pixels, color_only, byte):
        """pixels uint8 [H, W, 1 to 4]; color_only: bool, one channel is colour, too."""
        height, width, channels = tf.unstack(tf.shape(pixels))
        gray = (channels < 3) & ~color_only
        has_alpha = channels % 2 == 0
        color = pixels[..., : channels - tf.cast(has_alpha, tf.int32)]
        rgb = tf.cond(channels < 3, lambda: tf.repeat(color, 3, axis=2), lambda: color)
        alpha = tf.cond(
            has_alpha,
            lambda: tf.io.encode_png(pixels[..., -1:], compression=9),
            lambda: tf.constant(""),
        )
        rgb = tf.reshape(rgb, [1, height, width, 3])
        rung = tf.gather(self._rungs, byte)
        shapes = self._shapes(height, width)
        lanes = _serving_lanes(tf.add_n([steps * _size(shape) for steps, shape in shapes]))
        encoder = StockEncoder(self.stock_tables, lanes, self._xla)
        latents = self.analysis(rgb, rung[None])
        visitor = _GraphEncoder(encoder, self._exported.parts, latents)
        walk(_ExportedInGraph(self, visitor, shapes), visitor)
        payload, lengths, escapes = encoder.finish()
        return stock_container.pack(
            {
                "fingerprint": self._fingerprint,
                "profile": self._config["profile"],
                "quality": byte,
                "gray": gray,
                "height": height,
                "width": width,
                "payload": payload,
                "lengths": lengths,
                "escapes": escapes,
                "alpha": alpha,
                "checksum": stock_container.symbols_checksum(visitor.symbols),
            }
        )

    def _quality_byte(self, quality, faults):
        """int32; 0 asks for the model's default, as a signature has no optional inputs."""
        if self._config["qualities"] is None:
            faults.check(quality == 0, "the model has one rate; quality must be 0")
            return tf.constant(0)
        low, high = self._config["qualities"]
        quality = tf.where(quality == 0, self._config["default_quality"], quality)
        faults.check(
            (quality >= low) & (quality <= high),  # false for not-a-number
            *(f"quality is from {low} to {high}, or 0 for the model's default, not "),
            quality,
        )
        return tf.cast(tf.round((quality - 1) * QUALITY_STEPS), tf.int32)

    # -------------------------------------------------------------------------------- walk

    def _shapes(self, height, width):
        """Of each part, how many steps there are, int64, and their shape, of int32 tensors."""
        found = []
        whole = [padded(side, self._exported.stride) for side in (height, width)]
        for part in self._exported.parts:
            sides, steps = [side // part["stride"] for side in whole], tf.constant(1)
            if part.get("wavefront"):
                steps, sides = wavefront.count(*sides), (wavefront.rows(*sides, xp=ops), 1)
            found.append((tf.cast(steps, tf.int64), (1, *sides, part["channels"])))
        return found

    def _turns(self, shapes, lanes):
        """The most turns of the decoder's loop that such latents can need, int64."""
        turns = []
        for part, (steps, shape) in zip(self._exported.parts, shapes, strict=True):
            turns.append(steps * -(-_size(shape) // lanes))
            if _is_mixture(part):
                turns[-1] *= MAX_QUESTIONS
        return tf.add_n(turns)


class _ExportedInGraph:
    """The model of `slices.walk`, of tensors.

    The walk sees the first step of each part. Further wavefronts, whose number hangs on the
    picture's size, are a loop before the end.
    """

    def __init__(self, server, visitor, shapes):
        self._server, self._visitor, self._shapes = server, visitor, shapes
        self._parts = server._exported.parts

    def step(self, k, state, symbols):
        server, part = self._server, self._parts[min(k, len(self._parts) - 1)]
        given = () if k == 0 else (state, symbols)
        state, mu, indexes = server.steps[k](*given)
        if _is_mixture(part):
            prior = StockMixturePrior(indexes, part["first_row"], tf.identity(server.family_tables))
            return state, prior
        # A hostile file may drive a network to not-a-number, which casts to any integer.
        indexes = tf.clip_by_value(indexes, 1, tf.size(server.stock_tables.sizes) - 1)
        return state, _StockTablePrior(mu, indexes, server.bisected[k])

    def finish(self, state, symbols):
        if self._parts[-1].get("wavefront"):
            state, symbols = self._wavefronts(state, symbols)
        return self._server.finish(state, symbols)

    def _wavefronts(self, state, symbols):
        """State and symbols of the last wavefront; the visitor keeps the symbols of all."""
        visitor, k = self._visitor, len(self._parts) - 1
        count = tf.cast(self._shapes[k][0], tf.int32)
        found = tf.TensorArray(tf.int32, count, element_shape=symbols.shape).write(0, symbols)

        def turn(t, state, symbols, found):
            state, prior = self.step(k + 1, state, symbols)
            symbols = visitor.code(k, t, prior)
            return t + 1, state, symbols, found.write(t, symbols)

        _, state, symbols, found = visitor.coder.loop(
            lambda t, *_: t < count, turn, (tf.constant(1), state, symbols, found)
        )
        visitor.symbols[k] = found.stack()
        return state, symbols


@dataclasses.dataclass(frozen=True)
class _StockTablePrior:
    """`slices.TablePrior` of tensors; `bisected` says how its rows are searched."""

    mu: tf.Tensor
    indexes: tf.Tensor
    bisected: bool

    def encode(self, symbols, coder):
        coder.write(tf.broadcast_to(self.indexes, tf.shape(symbols)), symbols)

    def decode(self, shape, coder):
        return coder.read(tf.broadcast_to(self.indexes, shape), self.bisected)


class _Visitor:
    """Visitor of the parts, inside a graph; `symbols` of each in the end, int32.

    coder: `StockEncoder` or `StockDecoder`.
    parts: of the export.
    """

    def __init__(self, coder, parts):
        self.coder, self.parts, self.symbols = coder, parts, []
        self.num_steps = len(parts)

    def __call__(self, k, prior):
        self.symbols.append(self.code(k, 0, prior))
        return self.symbols[-1]


class _GraphEncoder(_Visitor):
    """`slices.SliceEncoder` of tensors; latents: of each part, as the analysis gives them."""

    def __init__(self, coder, parts, latents):
        super().__init__(coder, parts)
        self.latents = latents

    def code(self, k, t, prior):
        """The symbols of part k, or of its wavefront t."""
        latent = self.latents[k]
        if self.parts[k].get("wavefront"):
            row, column, valid = wavefront.positions(t, *tf.unstack(tf.shape(latent)[1:3]), xp=ops)
            latent = tf.gather_nd(latent[0], tf.stack([row, column], 1))
            latent = tf.where(valid[:, None], latent, 0.0)[None, :, None]
        residual = latent - prior.mu
        rounded = tf.where(tf.math.is_nan(residual), 0.0, tf.round(residual))
        limited = tf.clip_by_value(rounded, -float(MAX_SYMBOL), float(MAX_SYMBOL))
        symbols = tf.cast(limited, tf.int32)
        prior.encode(symbols, self.coder)
        return symbols


class _GraphDecoder(_Visitor):
    """`slices.SliceDecoder` of tensors; shapes: of a step of each part."""

    def __init__(self, coder, parts, shapes):
        super().__init__(coder, parts)
        self.shapes = shapes

    def code(self, k, t, prior):
        symbols = prior.decode(self.shapes[k], self.coder)
        return tf.ensure_shape(symbols, [1, None, None, self.parts[k]["channels"]])


def _is_mixture(part):
    return part.get("coding") == "mixture"


def _bisected(exported):
    """Which parts' rows are bisected, and all these rows: where one row serves a channel and
    symbols are few, and where rows are binary decisions.

    Found by walking over symbols of zero of a small picture. The rows of all other parts get an
    inverse table, as do those of the last part, which has the most symbols.
    """
    state, symbols, steps, rows = {}, None, [], [np.zeros(0, np.int64)]
    shapes = exported.shapes(2 * exported.stride, 2 * exported.stride)  # none is 1x1 by its size
    last = len(exported.parts) - 1
    for k, part in enumerate(exported.parts):
        state, prior = exported.step(k, state, symbols)
        symbols = np.zeros(shapes[k], np.int32)
        if _is_mixture(part):
            steps.append(True)
            rows.append(part["first_row"] + np.arange(mixtures.BINARY_ROWS))
        else:
            steps.append(k < last and prior.indexes.shape[1:3] == (1, 1))
            rows.append(np.unique(prior.indexes)[: None if steps[k] else 0])
    return steps, np.unique(np.concatenate(rows)).tolist()


def _size(shape):
    """Elements of a shape of int32 tensors, int64."""
    return functools.reduce(lambda a, b: a * tf.cast(b, tf.int64), shape, tf.constant(1, tf.int64))


def _serving_lanes(symbols):
    """`coding.serving_lanes` of an int64 tensor."""
    powers = tf.constant([1 << k for k in range(MAX_LANES.bit_length())], tf.int64)
    enough = powers * SERVING_SYMBOLS >= symbols
    return tf.cast(tf.reduce_min(tf.where(enough, powers, MAX_LANES)), tf.int32)


# ----------------------------------------------------------------------------- pictures and faults


def _each(function, *inputs):
    """`function` for each element of a batch, one after the other: each may use all cores."""
    results = (tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.string))
    return tf.map_fn(
        lambda given: function(*given), inputs, fn_output_signature=results, parallel_iterations=1
    )


def _raising(result, error):
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(error, ""), [error])]):
        return tf.identity(result)


def _or_nothing(function, data, nothing):
    """`function(data)`, or `nothing` where its operation raises.

    A graph cannot catch, but a data set can skip what fails.
    """
    results = tf.data.Dataset.from_tensors(data).map(function).ignore_errors()
    return results.concatenate(tf.data.Dataset.from_tensors(nothing)).take(1).get_single_element()


def _read_picture(data, max_pixels):
    """A PNG or JPEG as pixels uint8 [H, W, C], whether one channel means colour, and error."""
    faults = Faults()
    head = tf.io.decode_raw(tf.strings.substr(tf.strings.join([data, bytes(33)]), 0, 33), tf.uint8)
    head = tf.cast(tf.ensure_shape(head, [33]), tf.int64)
    png = tf.reduce_all(head[:16] == list(PNG_SIGNATURE + b"\0\0\0\rIHDR"))
    jpeg = tf.reduce_all(head[:3] == [0xFF, 0xD8, 0xFF])
    faults.check(png | jpeg, "not a PNG or JPEG")
    nothing = tf.zeros([3], tf.int32)
    shape = tf.cond(
        jpeg,
        lambda: tf.cast(_or_nothing(tf.image.extract_jpeg_shape, data, nothing), tf.int64),
        lambda: tf.stack([_big_endian(head[20:24]), _big_endian(head[16:20]), 1]),
    )
    height, width, depth, kind = shape[0], shape[1], head[24], head[25]
    faults.check((height > 0) & (width > 0), "the picture is damaged or truncated")
    faults.check(
        stock_container.within(height, width, max_pixels),
        *("the picture has ", width, "x", height, f" pixels, at most {max_pixels} are taken"),
    )
    faults.check(~png | (depth <= 8), "the PNG has 16-bit samples; convert it to 8 bits")
    # Of gray and RGB, the decoder would drop a transparent colour without a word.
    octets = tf.io.decode_raw(data, tf.uint8)
    _, kinds = _walk_png(octets, tf.size(octets), until=_IDAT, most=1000)
    keyed = png & (kind != 3) & tf.reduce_any(kinds == _TRNS)
    faults.check(~keyed, "the PNG has a transparent colour; convert it to an alpha channel")
    one_bit = png & (depth == 1) & (kind == 0)

    def decode():
        nothing = tf.zeros([0, 0, 0], tf.uint8)
        return tf.cond(
            png,
            lambda: _or_nothing(tf.io.decode_png, data, nothing),
            lambda: _or_nothing(_decode_jpeg, data, nothing),
        )

    sound = tf.equal(faults.error, "")
    pixels = tf.cond(sound, decode, lambda: tf.zeros([0, 0, 0], tf.uint8))
    faults.check(tf.size(pixels) > 0, "the picture is damaged or truncated")
    return pixels, one_bit, faults.error


def _decode_jpeg(data):
    return tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE")


def _read_alpha(data, height, width):
    """`pictures.alpha_from_png` in a graph: alpha uint8 [H, W, 1] and error."""
    faults = Faults()
    octets = tf.io.decode_raw(data, tf.uint8)
    size = tf.size(octets)
    sides = [
        tf.bitwise.right_shift(tf.cast(side, tf.int64), [24, 16, 8, 0]) % 256
        for side in (width, height)
    ]
    head = tf.concat(
        [list(PNG_SIGNATURE + b"\0\0\0\rIHDR"), *sides, [8, 0, 0, 0, 0]], 0
    )  # 8-bit gray, not interlaced
    faults.check(
        tf.reduce_all(tf.cast(tf.pad(octets[:29], [[0, 29]])[:29], tf.int64) == head),
        *("the alpha part is not an 8-bit gray PNG of ", width, "x", height),
    )
    # Other chunks may unfold to more than their size: they must not reach the decoder.
    end, kinds = _walk_png(octets, size, until=_IEND, most=64 + size // 1024)
    faults.check(
        (end == size) & ~tf.reduce_any((kinds != _IDAT) & (kinds != _IEND)),
        "the alpha part is truncated or holds unexpected chunks",
    )
    nothing = tf.zeros([0, 0, 0], tf.uint8)
    alpha = tf.cond(
        tf.equal(faults.error, ""),
        lambda: _or_nothing(lambda png: tf.io.decode_png(png, channels=1), data, nothing),
        lambda: nothing,
    )
    faults.check(tf.size(alpha) == height * width, "the alpha part cannot be decoded")
    return alpha, faults.error


def _walk_png(octets, size, until, most):
    """Walks the chunks after the first, at most so many, up to one of a kind.

    Returns: where that chunk ends, int32, or -1 if there is none; kinds of the chunks, int64 [n].
    """

    def chunk(k, at, kinds):
        part = tf.cast(tf.ensure_shape(octets[at : at + 8], [8]), tf.int64)
        end = tf.cast(at, tf.int64) + 12 + _big_endian(part[:4])
        end = tf.where(end <= tf.cast(size, tf.int64), tf.cast(end, tf.int32), -1)
        return k + 1, end, kinds.write(k, _big_endian(part[4:]))

    def more(k, at, kinds):
        last = kinds.read(tf.maximum(k - 1, 0))
        return (at >= 0) & (at + 12 <= size) & (k < most) & (last != until)

    kinds = tf.TensorArray(tf.int64, most, element_shape=[])
    k, at, kinds = tf.while_loop(
        more, chunk, (0, tf.constant(_IHDR_END), kinds), parallel_iterations=1
    )
    kinds = kinds.stack()[:k]
    return tf.where(tf.reduce_any(kinds == until), at, -1), kinds


def _big_endian(four):
    return tf.reduce_sum(tf.bitwise.left_shift(four, np.int64([24, 16, 8, 0])))


# --------------------------------------------------------------------------------- beside the model

_MODELS_CONFIG = """\
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
"""

# Pictures of a batch are coded one after the other: a batch saves no work, so none is waited for.
# What the batcher gives is a bounded queue. No allowed_batch_sizes: their padding would be coded.
_BATCHING_CONFIG = """\
max_batch_size { value: 4 }
batch_timeout_micros { value: 0 }
num_batch_threads { value: 2 }
max_enqueued_batches { value: 64 }
"""


def _write_warmup(path, name, server, max_pixels):
    """Requests that TF Serving plays to itself before it says that the model is ready."""
    side = min(64, math.isqrt(max_pixels))
    ramp = np.add.outer(np.arange(side), 2 * np.arange(side)).astype(np.uint8)
    picture = tf.io.encode_png(np.stack([ramp, ramp.T, 255 - ramp], 2))
    inputs = {"images_bytes": picture[None], "quality": tf.constant([0.0])}
    outputs = server.encode(**inputs)
    if outputs["error"][0] != b"":
        raise ModelError(f"{name}: the signatures do not work here ({outputs['error'][0].numpy()})")
    requests = [
        _prediction_log(name, "encode", inputs),
        _prediction_log(name, "decode", {"files_bytes": outputs["files_bytes"]}),
    ]
    os.makedirs(os.path.dirname(path))
    with tf.io.TFRecordWriter(path) as writer:
        for request in requests:
            writer.write(request)


def _prediction_log(name, signature, inputs):
    """A serialized tensorflow.serving.PredictionLog, without the package that defines it."""

    def field(number, content):
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    request = field(1, field(1, name.encode()) + field(3, signature.encode()))  # ModelSpec
    for key, value in inputs.items():
        tensor = tf.make_tensor_proto(value.numpy()).SerializeToString()
        request += field(2, field(1, key.encode()) + field(2, tensor))
    return field(6, field(1, request))  # PredictionLog.predict_log.request


def _write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)

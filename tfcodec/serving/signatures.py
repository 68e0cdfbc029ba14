"""What a server is asked: the signatures, traced into one graph around the walk."""

import types

import numpy as np
import tensorflow as tf
from keras import ops

from tfcodec.codec import Codec
from tfcodec.coding import mixtures, wavefront
from tfcodec.coding.format import (
    MAX_BYTES_PER_PIXEL,
    QUALITY_STEPS,
    padded,
)
from tfcodec.entropy.walk import MIXTURE, walk
from tfcodec.serving import container
from tfcodec.serving.coder import StockDecoder, StockEncoder, StockTables
from tfcodec.serving.faults import Faults
from tfcodec.serving.pictures import read_alpha, read_picture
from tfcodec.serving.walk import (
    CODINGS,
    ExportedInGraph,
    GraphDecoder,
    GraphEncoder,
    bisected_rows,
    count_elements,
    serving_lanes,
)


class Server(tf.Module):
    """What is saved: the exported functions, and those of the signatures around them.

    Args: see `export`; the model is a `codec.Codec`.
    """

    def __init__(self, model: Codec, max_pixels: int, max_turns: int, xla: bool):
        super().__init__()
        # As a dictionary, TensorFlow would put wrappers of its own into it.
        self._config = types.MappingProxyType(model.info.config)
        self._exported = model.exported
        self._fingerprint = np.frombuffer(model.info.fingerprint, np.uint8)
        self._max_pixels, self._max_turns, self._xla = max_pixels, max_turns, xla
        self._max_bytes = min(MAX_BYTES_PER_PIXEL * max_pixels, 2**31 - 1)
        self._rungs = np.float32([model.ladder.rung(byte) for byte in range(256)])

        loaded = model.exported.module
        names = ("weights", "to_y", "to_latents", "steps", "finish")
        for name in (*names, "synthesis", "tables"):
            setattr(self, name, getattr(loaded, name))
        self.bisected, rows = bisected_rows(self._exported)
        self.stock_tables = StockTables(model.exported.tables, rows)
        if any(part.coding == MIXTURE for part in self._exported.parts):
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

    def _decode(self, data):
        """(PNG, error) of the bytes of a file; strings, one of them empty."""
        fields, error = container.unpack(data, self._max_pixels, self._max_bytes)
        faults = Faults(error)
        same = tf.reduce_all(fields["fingerprint"] == self._fingerprint)
        faults.check(
            same,
            "was written by a model with another fingerprint than "
            f"{self._config['fingerprint']}, which {self._config['name']} has here",
        )
        profile = self._config["profile"]
        other = ("needs arithmetic profile ", fields["profile"], f", this model has {profile}")
        faults.check(fields["profile"] == profile, *other)
        shapes = self._shapes(fields["height"], fields["width"])
        lanes = tf.size(fields["lengths"], tf.int64)
        turns = self._turns(shapes, lanes)
        needed = ("its ", lanes, " lanes need ", turns, " turns of the decoder, ")
        limit = f"at most {self._max_turns} are taken; encode it with more lanes"
        faults.check(turns <= self._max_turns, *needed, limit)
        return faults.go_on(lambda: self._decode_sound(fields, shapes))

    def _decode_sound(self, fields, shapes):
        height, width = fields["height"], fields["width"]
        has_alpha = tf.strings.length(fields["alpha"]) > 0
        alpha, error = tf.cond(
            has_alpha,
            lambda: read_alpha(fields["alpha"], height, width),
            lambda: (tf.zeros([0, 0, 1], tf.uint8), tf.constant("")),
        )

        def symbols_too():
            decoder = StockDecoder(
                self.stock_tables,
                *(fields[name] for name in ("payload", "lengths", "escapes")),
                compiled=self._xla,
            )
            visitor = GraphDecoder(decoder, self._exported.parts, [shape for _, shape in shapes])
            y_hat = walk(ExportedInGraph(self, self._exported.parts, visitor, shapes), visitor)
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
                container.symbols_checksum(visitor.symbols) == fields["checksum"],
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
        # As `Codec.synthesize`: the three channels estimate one value.
        mean = (tf.reduce_sum(tf.cast(rgb, tf.int32), axis=2, keepdims=True) + 1) // 3
        color = tf.cond(fields["gray"], lambda: tf.cast(mean, tf.uint8), lambda: rgb)
        pixels = tf.cond(has_alpha, lambda: tf.concat([color, alpha], 2), lambda: color)
        return tf.io.encode_png(pixels, compression=3)  # 6 % larger than 6, four times as fast

    def _encode(self, data, quality):
        """(file, error) of the bytes of a PNG or JPEG; strings, one of them empty."""
        faults = Faults()
        size = tf.strings.length(data)
        limit = f" bytes, at most {self._max_bytes} are taken"
        faults.check(size <= self._max_bytes, "the picture has ", size, limit)
        byte = self._quality_byte(quality, faults)
        return faults.go_on(lambda: self._encode_bytes(data, byte))

    def _encode_bytes(self, data, byte):
        pixels, color_only, error = read_picture(data, self._max_pixels)
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
        lanes = serving_lanes(tf.add_n([steps * count_elements(shape) for steps, shape in shapes]))
        encoder = StockEncoder(self.stock_tables, lanes, self._xla)
        latents = self.to_latents(self.to_y(rgb, rung[None]))
        visitor = GraphEncoder(encoder, self._exported.parts, latents)
        walk(ExportedInGraph(self, self._exported.parts, visitor, shapes), visitor)
        payload, lengths, escapes = encoder.finish()
        return container.pack(
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
                "checksum": container.symbols_checksum(visitor.symbols),
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
            f"quality is from {low} to {high}, or 0 for the model's default, not ",
            quality,
        )
        return tf.cast(tf.round((quality - 1) * QUALITY_STEPS), tf.int32)

    def _shapes(self, height, width):
        """Of each part, how many steps there are, int64, and their shape, of int32 tensors."""
        found = []
        whole = [padded(side, self._exported.stride) for side in (height, width)]
        for part in self._exported.parts:
            sides, steps = [side // part.stride for side in whole], tf.constant(1)
            if part.wavefront:
                steps, sides = wavefront.count(*sides), (wavefront.rows(*sides, xp=ops), 1)
            found.append((tf.cast(steps, tf.int64), (1, *sides, part.channels)))
        return found

    def _turns(self, shapes, lanes):
        """The most turns of the decoder's loop that such latents can need, int64."""
        turns = []
        for part, (steps, shape) in zip(self._exported.parts, shapes, strict=True):
            most = CODINGS[part.coding].most_reads
            turns.append(most * steps * -(-count_elements(shape) // lanes))
        return tf.add_n(turns)


def _each(function, *inputs):
    """`function` for each element of a batch, one after the other: each may use all cores."""
    results = (tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.string))
    return tf.map_fn(
        lambda given: function(*given), inputs, fn_output_signature=results, parallel_iterations=1
    )


def _raising(result, error):
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(error, ""), [error])]):
        return tf.identity(result)

"""Latency of a served model by size: the coder in stock operations, under XLA, and as TFC's ops.

    python benchmarks/serving.py examples/kodim23.png --sizes 256x256 768x512 --runs 9

The picture is tiled or cropped to each size. "coder" is entropy decoding or encoding without
networks, of the very symbols of the picture; "whole" is a request from bytes to bytes (PNG there
and back included), for TFC's ops the codec's encode and decode with the same PNG steps. Models that
code by mixtures have "whole" alone: their coder is half network. The calls
of a size take turns, so that a busy machine slows all of them alike: read the ratios.
"""

import argparse
import io
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from PIL import Image

import tfcodec
from tfcodec import pictures
from tfcodec.coding import TFC, container, open_decoder, open_encoder
from tfcodec.entropy.walk import MIXTURE, StepDecoder, walk
from tfcodec.serving import signatures
from tfcodec.serving.coder import StockDecoder, StockEncoder


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("image")
    flags.add_argument("--model", help="name or folder; default: the bundled one")
    flags.add_argument("--sizes", nargs="+", default=["256x256", "768x512", "1536x1024"])
    flags.add_argument("--quality", type=float)
    flags.add_argument("--runs", type=int, default=9)
    args = flags.parse_args()

    codec = tfcodec.load(args.model)
    rgb = pictures.read(args.image).rgb
    servers = [signatures.Server(codec, 2**25, 2**30, xla) for xla in (False, True)]
    print("milliseconds, median; first call left out")
    print("size  lanes  bytes  |  stock graph  XLA  TFC ops")
    for size in args.sizes:
        width, height = map(int, size.split("x"))
        repeats = [-(-height // rgb.shape[0]), -(-width // rgb.shape[1]), 1]
        picture = pictures.from_array(np.tile(rgb, repeats)[:height, :width])
        data = codec.encode(picture, args.quality, lanes="serving").data
        lanes = len(container.unpack(data, max_pixels=2**40).streams)
        one = codec.encode(picture, args.quality).data
        cost = 100 * (len(data) / len(one) - 1)
        print(f"{size}  {lanes} lanes  {len(data)} bytes, {cost:+.2f} % over one lane")
        for name, calls in measured(codec, servers, picture, data, args.quality).items():
            figures = "  ".join(f"{ms:8.1f}" for ms in medians(calls, args.runs))
            print(f"  {name:14}{figures}")


def measured(codec, servers, picture, data, quality):
    """Name of a row to its calls: stock graph, XLA, TFC ops."""
    whole = whole_requests(codec, servers, picture, data, quality)
    if any(part.coding == MIXTURE for part in codec.exported.parts):
        return whole
    box = container.unpack(data, max_pixels=2**40)
    recorded = Recorder(codec, box)
    streams, escapes = box.streams, box.escapes
    payload = np.frombuffer(b"".join(streams), np.uint8)
    lengths = np.int64([len(stream) for stream in streams])

    def decode_ops():
        decoder = open_decoder(TFC, codec.exported.tables, streams, escapes)
        return [decoder.read(indexes) for indexes in recorded.indexes]

    def encode_ops():
        encoder = open_encoder(TFC, codec.exported.tables, len(streams))
        for indexes, symbols in zip(recorded.indexes, recorded.symbols, strict=True):
            encoder.write(indexes, symbols)
        return encoder.finish()

    def coder(server, compiled):
        tables, bisected = server.stock_tables, server.bisected

        @tf.function(autograph=False)
        def decode(payload, lengths, escapes, indexes):
            decoder = StockDecoder(tables, payload, lengths, escapes, compiled)
            return [decoder.read(i, b) for i, b in zip(indexes, bisected, strict=True)]

        @tf.function(autograph=False)
        def encode(lanes, indexes, symbols):
            encoder = StockEncoder(tables, lanes, compiled)
            for step in zip(indexes, symbols, strict=True):
                encoder.write(*step)
            return encoder.finish()

        indexes = [tf.constant(i) for i in recorded.indexes]
        symbols = [tf.constant(s) for s in recorded.symbols]
        given = [tf.constant(a) for a in (payload, lengths, np.int32(escapes))]
        decoded = decode(*given, indexes)
        for here, there in zip(decoded, recorded.symbols, strict=True):
            np.testing.assert_array_equal(here, there)
        lanes = tf.constant(len(streams))
        assert encode(lanes, indexes, symbols)[0].numpy().tobytes() == payload.tobytes()
        return lambda: decode(*given, indexes), lambda: encode(lanes, indexes, symbols)

    stock, xla = (
        coder(server, compiled) for server, compiled in zip(servers, (False, True), strict=True)
    )
    return {
        "decode, coder": [stock[0], xla[0], decode_ops],
        "encode, coder": [stock[1], xla[1], encode_ops],
        **whole,
    }


def whole_requests(codec, servers, picture, data, quality):
    def whole_encode():
        rgb = np.asarray(Image.open(io.BytesIO(source)))
        return codec.encode(pictures.from_array(rgb), quality, lanes="serving").data

    def whole_decode():
        shown = codec.decode(container.unpack(data, max_pixels=2**40)).rgb
        Image.fromarray(shown).save(io.BytesIO(), "PNG", compress_level=3)

    buffer = io.BytesIO()
    Image.fromarray(picture.rgb).save(buffer, "PNG", compress_level=3)
    source, level, file = (
        buffer.getvalue(),
        tf.constant(np.float32(quality or 0)),
        tf.constant(data),
    )
    return {
        "decode, whole": [*(lambda s=s: s.decode_one(file) for s in servers), whole_decode],
        "encode, whole": [
            *(lambda s=s: s.encode_one(tf.constant(source), level) for s in servers),
            whole_encode,
        ],
    }


class Recorder:
    """Table indexes and symbols of each step of a file, as its decoder meets them."""

    def __init__(self, codec, box):
        self.decoder = open_decoder(TFC, codec.exported.tables, box.streams, box.escapes)
        self.indexes = []
        visitor = StepDecoder(codec.exported.shapes(box.height, box.width), self)
        walk(codec.exported, visitor)
        self.symbols = visitor.symbols

    def read(self, indexes):
        self.indexes.append(np.ascontiguousarray(indexes))
        return self.decoder.read(self.indexes[-1])


def medians(calls, runs):
    times = [[] for _ in calls]
    for turn in range(runs + 1):
        for call, of_call in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                of_call.append(1000 * (time.perf_counter() - start))
    return [statistics.median(of_call) for of_call in times]


if __name__ == "__main__":
    main()

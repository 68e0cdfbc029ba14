"""A trained model as a SavedModel of stock TensorFlow operations, and back.

An export is a folder:

    NAME/1/           the SavedModel, as TF Serving wants it; 1 is its version
    NAME/config.json  what it is: fingerprint, steps, qualities, measured points, weights' places
    NAME/card.md      what a person should know of it

It holds the functions that the walk of `entropy.slices` needs, for any height and width, batch 1:
`to_y(x uint8, rung) -> y`, `to_latents(y) -> latents`, and `analysis(x, rung)`, which is both;
`steps[k](state, symbols) -> state, mu, indexes`, `finish(state, symbols) -> y_hat`,
`synthesis(y_hat, rung) -> uint8`, `estimate(latents) -> bits` of the model itself. Where
config.json says that a step's `coding` is "mixture", its indexes are the integer parameters of
`entropy.mixture_coding`; where it says `wavefront`, the step is the last and repeats, see
`entropy.wavefront`. Encoder and decoder run the very same compiled steps. The coding tables are
integers, made once here and never derived again. Large pictures pass `to_y` and `synthesis` in the
tiles of `tiles`, by the margins that config.json holds as `tiling`.

Importing this module imports neither TensorFlow nor Keras, and using an export needs no model code.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import zlib

import numpy as np

from tfcodec import tiles
from tfcodec.entropy import wavefront
from tfcodec.entropy.mixture_coding import MixturePrior
from tfcodec.entropy.slices import SYMBOL_LIMIT, TablePrior
from tfcodec.errors import InputError, ModelError
from tfcodec.layers import integer

PROFILE_FLOAT32 = 0  # arithmetic profile: float32 on the CPU device, not portable between machines
DEFAULT_QUALITY = 5.0
# Largest picture of a model that cannot be tiled, since it sees the whole picture at once.
UNTILED_PIXELS = 2**22
MODELS_VARIABLE = "TFCODEC_MODELS"  # folders of more exports, os.pathsep between
WEIGHTS = ("bfloat16", "int8", "float32")  # how weights are stored
# Weights of this many elements are stored in bfloat16; gains, biases, norms stay float32.
BFLOAT16_FROM = 4096
# Kernels of this many elements are stored, where asked for, as integers with a scale for each
# slice of their last axis, which lies beside them under a name of its own. Not those of the linear
# chains, which carry the picture itself: on the bundled default they were 0.5 of 0.75 % in BD-rate.
INT8_FROM = 16384
LINEAR_CHAIN = "/shortcut"
SCALE = "/scale"


# ------------------------------------------------------------------------------- finding exports


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """An export on this machine: its name, its folder and its config.json."""

    name: str
    path: str
    config: dict

    @property
    def fingerprint(self):
        """4 bytes that name the weights in a file."""
        return bytes.fromhex(self.config["fingerprint"])

    @property
    def qualities(self):
        """(lowest, highest) quality, or None for a model of one rate."""
        return tuple(self.config["qualities"]) if self.config["qualities"] else None


def read_info(path):
    """The `ModelInfo` of one export's folder. Raises ModelError if it is none."""
    try:
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        return ModelInfo(config["name"], str(path), config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: not an exported model, its config.json cannot be read"
        ) from error


def installed():
    """All exports on this machine, the bundled ones first, in order of their names."""
    folders = [str(pathlib.Path(__file__).parent / "saved_models")]
    if not os.path.isdir(folders[0]):  # a checkout: setup.py maps the folder beside the package
        folders = [str(pathlib.Path(__file__).parent.parent / "saved_models")]
    folders += [f for f in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if f]
    found = []
    for folder in folders:
        for config in sorted(pathlib.Path(folder).glob("*/config.json")):
            found.append(read_info(config.parent))
    return found


def find(name_or_dir=None):
    """The export of that name or folder; None finds the bundled default.

    Raises: ModelError that lists the installed models.
    """
    if name_or_dir and os.path.isfile(os.path.join(name_or_dir, "config.json")):
        return read_info(name_or_dir)
    models = installed()
    if name_or_dir is None:
        if not models:
            raise ModelError("no model is installed")
        return next((info for info in models if info.config.get("default")), models[0])
    for info in models:
        if info.name == name_or_dir:
            return info
    names = ", ".join(info.name for info in models) or "none"
    raise ModelError(f"there is no model {name_or_dir!r}; installed: {names}")


def find_fingerprint(fingerprint, name="input"):
    """The export that wrote a file. Raises ModelError if it is not installed."""
    models = installed()
    for info in models:
        if info.fingerprint == fingerprint:
            return info
    raise ModelError(
        f"{name}: needs the model with fingerprint {fingerprint.hex()}; installed: "
        + (", ".join(f"{m.name} ({m.fingerprint.hex()})" for m in models) or "none")
    )


# ------------------------------------------------------------------------------- using an export


class Exported:
    """A loaded export: the model of `slices.walk`, and the transforms around it.

    `on_tile`: see `codec.Codec`.

    Raises: ModelError if the folder does not hold what its config.json says.
    """

    def __init__(self, info):
        import tensorflow as tf

        from tfcodec.coding.tables import CodingTables

        self.info, self._tf = info, tf
        try:
            self.module = tf.saved_model.load(os.path.join(info.path, "1"))
            self.tiling = info.config["tiling"]
            tables = self.module.tables
            self.tables = CodingTables(
                **{key: tables[key].numpy() for key in ("lookup", "offsets", "sizes")}
            )
        except (OSError, ValueError, AttributeError, KeyError, tf.errors.OpError) as error:
            raise ModelError(
                f"{info.path}: the model cannot be loaded, it is incomplete, damaged, or of an "
                "older release"
            ) from error
        self.stride, self.parts = info.config["stride"], info.config["steps"]
        self.on_tile = None
        self.check_arithmetic()

    def check_arithmetic(self):
        """Raises ModelError unless a frozen model is whole, proven and computes as it should."""
        profile, name = self.info.config["profile"], self.info.name
        if profile == PROFILE_FLOAT32:
            return
        if profile not in integer.NUMBERS:
            raise ModelError(
                f"{name} needs arithmetic profile {profile}, which this version does not know"
            )
        exact = self.info.config["exact"]
        convs = frozen_convolutions(self.info, stored_weights(self.info))
        if integers_hash(convs) != exact["sha256"]:
            raise ModelError(f"{self.info.path}: the model's integers are damaged")
        try:
            for conv in convs:
                conv.prove()
        except ValueError as error:
            raise ModelError(f"{name}: its arithmetic is not exact: {error}") from error
        if known_answer(self) != exact["known_answer"]:
            raise ModelError(
                f"{name} computes otherwise than it should on this machine: its integer arithmetic "
                "is not exact here"
            )

    def padded(self, height, width):
        """The two sides of a picture as the model sees it, multiples of its stride."""
        return [-(-side // self.stride) * self.stride for side in (height, width)]

    def shapes(self, height, width):
        """Shape (1, h, w, c) of each step's latents for a picture of that size."""
        padded = self.padded(height, width)
        shapes = []
        for part in self.parts:
            sides = (side // part["stride"] for side in padded)
            if part.get("wavefront"):
                shapes += wavefront.shapes(*sides, part["channels"])
            else:
                shapes.append((1, *sides, part["channels"]))
        return shapes

    def analysis(self, rgb, rung):
        """uint8 [H, W, 3] to the latents of each step, float32 [1, h, w, c]."""
        steps = []
        latents = self.module.to_latents(self._to_y(rgb, rung))
        for part, latent in zip(self.parts, latents, strict=True):
            latent = latent.numpy()
            steps += wavefront.split(latent) if part.get("wavefront") else [latent]
        return steps

    def _to_y(self, rgb, rung):
        """uint8 [H, W, 3] to y, tile by tile."""
        nest, padded = self._tf.nest, self.padded(*rgb.shape[:2])
        grid, y, whole = self._grid(*padded, "analysis"), None, None
        for tile, (rows, columns) in enumerate(grid):
            seen = rgb[None, rows.start : rows.stop, columns.start : columns.stop]
            y = self.module.to_y(seen, np.float32([rung]))
            if len(grid) == 1:
                return y
            flat = [latent.numpy() for latent in nest.flatten(y)]
            strides = [(rows.stop - rows.start) // latent.shape[1] for latent in flat]
            if whole is None:
                whole = [
                    np.empty(
                        [1, *(side // stride for side in padded), latent.shape[-1]], np.float32
                    )
                    for latent, stride in zip(flat, strides, strict=True)
                ]
            for all_of_it, latent, stride in zip(whole, flat, strides, strict=True):
                _keep(all_of_it[0], latent[0], rows, columns, stride)
            self._tell(tile + 1, len(grid))
        return nest.pack_sequence_as(y, whole)

    def estimate(self, rgb, rung):
        """Bits of each part by the model's own densities, as the coder would charge them."""
        bits = self.module.estimate(self.module.to_latents(self._to_y(rgb, rung)))
        return {part: float(value[0]) for part, value in bits.items()}

    def step(self, k, state, symbols):
        steps, part = self.module.steps, self.parts[min(k, len(self.parts) - 1)]
        if k == 0:
            state, mu, indexes = steps[0]()
        else:  # wavefronts repeat the last step
            state, mu, indexes = steps[min(k, len(steps) - 1)](state, self._tf.constant(symbols))
        if part.get("coding") == "mixture":
            return state, MixturePrior(indexes.numpy(), part["first_row"])
        return state, TablePrior(mu.numpy(), indexes.numpy())

    def finish(self, state, symbols):
        return self.module.finish(state, self._tf.constant(symbols))

    def synthesis(self, y_hat, rung, height, width):
        """Decoded latents to the picture uint8 [height, width, 3], tile by tile."""
        nest, padded = self._tf.nest, self.padded(height, width)
        grid = self._grid(*padded, "synthesis")
        if len(grid) == 1:
            return self.module.synthesis(y_hat, np.float32([rung]))[0, :height, :width].numpy()
        rgb = np.empty([height, width, 3], np.uint8)

        def seen(latents, rows, columns):
            stride = padded[0] // latents.shape[1]
            rows, columns = (slice(s.start // stride, s.stop // stride) for s in (rows, columns))
            return latents[:, rows, columns]

        for tile, (rows, columns) in enumerate(grid):
            part = nest.map_structure(lambda a, at=(rows, columns): seen(a, *at), y_hat)
            part = self.module.synthesis(part, np.float32([rung]))[0].numpy()
            _keep(rgb, part, rows, columns)
            self._tell(tile + 1, len(grid))
        return rgb

    def _grid(self, height, width, margins):
        if self.tiling is not None:
            return tiles.grid(height, width, self.tiling, margins, self.stride)
        if height * width > UNTILED_PIXELS:
            raise ModelError(
                f"{self.info.name} sees the whole picture at once, of at most {UNTILED_PIXELS} "
                f"pixels; this one has {height * width}, sides padded"
            )
        return [(tiles.Span(0, height, 0, height), tiles.Span(0, width, 0, width))]

    def _tell(self, done, count):
        if self.on_tile is not None:
            self.on_tile(done, count)


def _keep(whole, tile, rows, columns, stride=1):
    """Copies what is kept of a tile [h, w, c] to its place; what lies beyond the whole is cut."""
    to, of = [], []
    for span, side in ((rows, whole.shape[0]), (columns, whole.shape[1])):
        first, last = span.first // stride, min(span.last // stride, side)
        start = span.start // stride
        to.append(slice(first, last))
        of.append(slice(first - start, last - start))
    whole[tuple(to)] = tile[tuple(of)]


def read_weights(path):
    """Weights of an export by the path of the model's variable, float32; needs no TensorFlow.

    Those of frozen layers are what their integers mean.

    Raises: ModelError if the folder is no export.
    """
    info = read_info(path)
    weights = dequantised(info, stored_weights(info))
    for conv in frozen_convolutions(info, weights):
        for name in conv.arrays:
            del weights[f"{conv.name}/exact/{name}"]
        weights[f"{conv.name}/kernel"], weights[f"{conv.name}/bias"] = integer.dequantise(conv)
    return {name: array.astype(np.float32) for name, array in weights.items()}


def stored_weights(info):
    """As `read_weights` of a `ModelInfo`, as they are stored: scales are arrays of their own.

    Raises: ModelError if the export is incomplete.
    """
    import ml_dtypes

    file = os.path.join(info.path, "1", "variables", "variables.data-00000-of-00001")
    try:
        blob = pathlib.Path(file).read_bytes()
    except OSError as error:
        raise ModelError(f"{info.path}: the model cannot be loaded, it is incomplete") from error
    weights = {}
    try:
        for name, place in info.config["weights"].items():
            bfloat16, shape = place["dtype"] == "bfloat16", place["shape"]
            dtype = np.dtype(ml_dtypes.bfloat16 if bfloat16 else place["dtype"])
            flat = np.frombuffer(blob, dtype, int(np.prod(shape)), place["offset"])
            weights[name] = flat.reshape(shape)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{info.path}: the model's weights are incomplete or damaged") from error
    return weights


def dequantised(info, weights):
    """`stored_weights` with kernels float32 in place of their integers and scales.

    Raises: ModelError if a scale is missing.
    """
    weights = dict(weights)
    kernels = [name for name in weights if name.endswith("/kernel")]
    for name in (name for name in kernels if weights[name].dtype == np.int8):
        scale = weights.pop(name + SCALE, None)
        if scale is None or scale.shape != weights[name].shape[-1:]:
            raise ModelError(f"{info.path}: the scale of {name} is missing")
        weights[name] = weights[name].astype(np.float32) * scale
    return weights


def quantised(kernel):
    """(int8 array, its scale for each slice of the last axis, float32) of a float32 kernel.

    Quantised again, their product gives these very integers and scales: a scale has 16 significant
    bits, so that 127 of it are exact in float32.
    """
    scale = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / np.float32(127)
    scale = (scale.view(np.uint32) & 0xFFFFFF00).view(np.float32)
    integers = np.rint(kernel / np.where(scale > 0, scale, np.float32(1)))
    return np.clip(integers, -127, 127).astype(np.int8), scale


def frozen_convolutions(info, weights):
    """The `integer.Conv`s of a frozen export, from its `stored_weights`; none of another."""
    convs = []
    for described in info.config.get("exact", {}).get("convolutions", ()):
        conv = integer.Conv.read(described, {})
        arrays = {name: weights[f"{conv.name}/exact/{name}"] for name in conv.shapes()}
        convs.append(dataclasses.replace(conv, arrays=arrays))
    return convs


def integers_hash(convs):
    """SHA-256 of frozen convolutions, hexadecimal."""
    digest = hashlib.sha256()
    for conv in convs:
        digest.update(json.dumps(conv.describe()).encode())
        for name, array in sorted(conv.arrays.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def known_answer(model):
    """CRC-32 of what a model's steps say to given symbols, ordinary ones and extreme ones.

    model: of `slices.walk`, as `Exported` is, with `shapes`.
    """
    crc = 0
    for extreme in (False, True):
        state, symbols = {}, None
        for k, shape in enumerate(model.shapes(2 * model.stride, 3 * model.stride)):
            state, prior = model.step(k, state, symbols)
            means = np.rint(np.float64(prior.mu) * 2**integer.MEAN_BITS).astype(np.int64)
            for numbers in (means, np.int64(prior.indexes)):
                crc = zlib.crc32(numbers.astype("<i8").tobytes(), crc) if k else crc
            mixed = (np.arange(np.prod(shape), dtype=np.uint64) + k + 1) * 2654435761 % 2**32
            symbols = (mixed.reshape(shape) >> 27).astype(np.int32) - 16
            if extreme:
                symbols = np.where(symbols < 0, -SYMBOL_LIMIT, SYMBOL_LIMIT).astype(np.int32)
    return f"{crc:08x}"


# ------------------------------------------------------------------------------- making an export


def export(
    model,
    directory,
    model_name,
    preset,
    config,
    name=None,
    weights="bfloat16",
    note=None,
    precision="float32",
):
    """Writes a trained model as an export; an existing one is replaced when the new one is whole.

    Args:
        model: a built `CodecModel` of the registry, under any precision policy.
        directory: the export's folder.
        model_name, preset, config: what `model` was built from, see tfcodec.models.
        name: of the export; the folder's name if None.
        weights: "bfloat16" stores large weights in half the bytes, "int8" the largest kernels in a
            quarter, "float32" stores all exactly. The model computes with what is stored.
        note: dictionary that is added to config.json.
        precision: in which the transforms compute, "float32" or "bfloat16"; the entropy model
            computes in float32 always.
    Returns: the `ModelInfo`.
    Raises: InputError if `directory` holds something else than an export.
    """
    from tfcodec import models

    values = {v.path: np.float32(v.numpy()) for v in model.variables}
    model = models.weighted(model_name, config, precision)  # training may have computed otherwise
    for variable in model.variables:
        variable.assign(values[variable.path])
    note = {"precision": precision, **(note or {})}
    return save(model, directory, model_name, preset, config, name, weights, note)


def save(model, directory, model_name, preset, config, name=None, weights="bfloat16", note=None):
    """As `export`, of a model that computes as it is to be exported, and which may be frozen."""
    import tensorflow as tf

    from tfcodec import lean

    directory = os.path.normpath(directory)
    check_target(directory)
    name = name or os.path.basename(directory)
    stored = {}
    for variable in model.variables:
        for path, array in _stored(variable.path, variable.numpy(), weights).items():
            stored[path] = tf.Variable(array, trainable=False)
    module = _module(tf, model, stored)

    partial = directory + ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(os.path.join(partial, "1"))
    lean.save(module, os.path.join(partial, "1"))
    arrays = {path: variable.numpy() for path, variable in stored.items()}
    tables = {key: variable.numpy() for key, variable in module.tables.items()}
    note = {"profile": PROFILE_FLOAT32, "portable": False, **(note or {})}
    single = len(model.lambdas) == 1
    described = {
        "name": name,
        "model": model_name,
        "preset": preset,
        "config": dataclasses.asdict(config),
        "fingerprint": _fingerprint(arrays, tables, model, note),
        "profile": note["profile"],
        "portable": note["portable"],
        "qualities": None if single else [1, 8],
        "default_quality": None if single else DEFAULT_QUALITY,
        "lambdas": list(model.lambdas),
        "stride": model.stride,
        "steps": list(model.parts),
        "tiling": tiles.measure(model),
        "parameters": int(sum(v.numpy().size for v in model.variables)),
        "measured": [],
        **note,
        "weights": places(os.path.join(partial, "1"), arrays),
    }
    write_config(partial, described)
    if os.path.exists(os.path.join(directory, "card.md")):
        shutil.copy(os.path.join(directory, "card.md"), partial)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(os.path.dirname(directory) or ".", exist_ok=True)
    os.rename(partial, directory)
    return read_info(directory)


def write_config(directory, config):
    """Writes an export's config.json, the place of each weight on a line of its own."""
    text = json.dumps({**config, "weights": {}}, indent=1)
    places = (f"  {json.dumps(name)}: {json.dumps(at)}" for name, at in config["weights"].items())
    text = text.replace('"weights": {}', '"weights": {\n' + ",\n".join(places) + "\n }")
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        file.write(text + "\n")


def check_target(directory):
    """Raises InputError if `directory` holds something else than an export."""
    found = os.listdir(directory) if os.path.isdir(directory) else [""] * os.path.exists(directory)
    if found and "config.json" not in found:
        raise InputError(f"{directory}: exists and is no export; it is not replaced")


def _stored(path, value, weights):
    """{name: array} of what is stored of a variable of the model."""
    import ml_dtypes

    if weights not in WEIGHTS:
        raise InputError(f"weights are stored as {' or '.join(WEIGHTS)}, not as {weights}")
    if np.issubdtype(value.dtype, np.integer):
        return {path: value}
    kernel = path.endswith("/kernel") and LINEAR_CHAIN not in path
    if weights == "int8" and value.size >= INT8_FROM and kernel:
        integers, scale = quantised(np.float32(value))
        return {path: integers, path + SCALE: scale}
    large = value.size >= BFLOAT16_FROM and weights != "float32"
    return {path: value.astype(ml_dtypes.bfloat16 if large else np.float32)}


def _module(tf, model, stored):
    """The tf.Module that is saved. Its functions see the stored weights, cast to float32."""
    from tfcodec import lean
    from tfcodec.coding.tables import CodingTables

    def value_of(variable):
        if variable.path not in stored:
            return None
        value, scale = (stored.get(variable.path + end) for end in ("", SCALE))
        if scale is not None:
            return tf.cast(value, tf.float32) * scale
        return tf.cast(value, tf.float32) if value.dtype.is_floating else tf.identity(value)

    for variable in model.variables:  # the tables are made from the weights as they are stored
        variable.assign(value_of(variable))

    def with_weights(function):
        def call(*args):
            with lean.WeightsScope(value_of):
                return function(*args)

        return call

    def on_cpu(function):
        # Rates hang on the last bits of what is computed between z and an index: one device.
        def call(*args):
            with tf.device("CPU"):
                return function(*args)

        return call

    def padded(x):
        """uint8 [1, H, W, 3] to float32 in [0, 1], edges repeated to multiples of the stride."""
        for axis in (1, 2):
            side = tf.shape(x)[axis]
            whole = -(-side // model.stride) * model.stride
            x = tf.gather(x, tf.minimum(tf.range(whole), side - 1), axis=axis)
        return tf.cast(x, tf.float32) * (1.0 / 255.0)

    def to_y(x, rung):
        return model.to_y(padded(x), rung)

    def analysis(x, rung):
        return model.analysis(padded(x), rung)

    def estimate(latents):
        _, meter = model.rate(latents)
        return meter.bits

    def step(k, state, symbols):
        state, prior = model.step(k, state, symbols)
        return state, prior.mu, prior.indexes()

    def synthesis(y_hat, rung):
        x_hat = tf.cast(model.synthesis(y_hat, rung), tf.float32)
        return tf.cast(tf.round(tf.clip_by_value(x_hat, 0.0, 1.0) * 255.0), tf.uint8)

    def trace(function, *specs):
        # Without an input signature a restored function would trace anew for every size.
        function = tf.function(function, autograph=False, input_signature=specs)
        return function, function.get_concrete_function().structured_outputs

    def spec_of(outputs):
        return tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), outputs)

    picture = tf.TensorSpec([1, None, None, 3], tf.uint8)
    rung = tf.TensorSpec([1], tf.float32)
    module = tf.Module()
    module.weights = list(stored.values())
    module.to_y, y = trace(with_weights(to_y), picture, rung)
    module.to_latents, latents = trace(with_weights(model.to_latents), spec_of(y))
    module.analysis, _ = trace(with_weights(analysis), picture, rung)
    module.estimate, _ = trace(with_weights(estimate), spec_of(latents))

    steps, previous, parts = [], [], model.parts
    if parts[-1].get("wavefront"):
        parts = (*parts, parts[-1])  # the second wavefront's step serves all that follow
    for k, part in enumerate(parts):

        def step_k(*previous, k=k):
            return step(k, *(previous or ({}, None)))

        function, (state, _, _) = trace(on_cpu(with_weights(step_k)), *previous)
        steps.append(function)
        symbols = tf.TensorSpec([1, None, None, part["channels"]], tf.int32)
        previous = [spec_of(state), symbols]
    module.steps = steps
    module.finish, y_hat = trace(on_cpu(with_weights(model.finish)), *previous)
    module.synthesis, _ = trace(with_weights(synthesis), spec_of(y_hat), rung)

    tables = CodingTables.build(model.table_rows())
    module.tables = {
        key: tf.Variable(getattr(tables, key), trainable=False)
        for key in ("lookup", "offsets", "sizes")
    }
    return module


def _fingerprint(arrays, tables, model, note):
    """Hexadecimal of 4 bytes that change with anything that decoding hangs on."""
    digest = hashlib.sha256()
    frozen = [note["exact"]["sha256"]] if "exact" in note else []
    digest.update(repr([list(model.parts), model.stride, note["profile"], *frozen]).encode())
    for name, array in sorted({**arrays, **tables}.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:8]


def places(saved_model, arrays):
    """Where each weight lies in the SavedModel's data file, so that no second copy is needed."""
    path = os.path.join(saved_model, "variables", "variables.data-00000-of-00001")
    blob = pathlib.Path(path).read_bytes()
    places, cursor = {}, 0
    for name, array in arrays.items():
        data = array.tobytes()
        # Any place will do that holds these very bytes. Most stand near the one before them: a
        # search of the whole file for each would take a minute where there are a thousand.
        offset = blob.find(data, cursor, cursor + len(data) + (1 << 20))
        if offset < 0:
            offset = blob.index(data)
        if len(data) > 1 << 16:  # short ones, such as zeros, may have been found anywhere
            cursor = offset + len(data)
        places[name] = {"offset": offset, "dtype": str(array.dtype), "shape": list(array.shape)}
    return places

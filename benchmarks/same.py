"""Whether a change of the code left the models what they were: record before, check after.

    python benchmarks/same.py record before.json        # on the tree as it was
    python benchmarks/same.py check before.json         # on the changed one, on the same machine

Recorded are, of every preset of every model, the variables (path, shape, order), how they start
from a seed, parts, tables, and what it computes from weights that are a function of their paths; of
every export that comes with the package its fingerprint, as written and as found again from its
rebuilt weights; what the golden files decode to, and what three pictures are encoded to by the
default model.
`--only WORD` limits it to names that contain the word.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = sorted((ROOT / "tests" / "data").glob("*.tfcd"))
TOLERANCE = 1e-5  # of what is computed, relative: libraries may sum in another order


def main():
    """Records or checks; returns the exit code."""
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("action", choices=("record", "check"))
    flags.add_argument("file", type=pathlib.Path)
    flags.add_argument("--only", default="")
    args = flags.parse_args()
    if args.action == "record":
        args.file.write_text(json.dumps(dict(results(args.only)), indent=1))
        return 0
    recorded, count = json.loads(args.file.read_text()), 0
    for name, found in results(args.only):
        count += 1
        for line in differences(name, recorded.get(name), json.loads(json.dumps(found))):
            print(line, flush=True)
            args.action = "differs"
    print(
        f"{count} compared" + (", with differences" if args.action == "differs" else ", the same")
    )
    return int(args.action == "differs")


def results(only):
    """(name, JSON value) of all that is recorded."""
    import keras

    from tfcodec import models
    from tfcodec.exports import installed

    for name in models.MODELS:
        for preset in models.module(name).PRESETS:
            if only in f"{name} {preset}":
                keras.utils.set_random_seed(0)
                yield f"{name} {preset}", describe_model(models.build(name, preset).build_weights())
    for info in installed.models():
        if only in f"export {info.name}":
            yield f"export {info.name}", describe_export(info)
    for name, checksum in (("decoded", hash_of_decoded), ("encoded", hash_of_encoded)):
        if only in name:
            yield name, {path.stem: checksum(path) for path in GOLDEN}


def differences(name, expected, found):
    """One line for each value of the dictionary that differs."""
    for key in sorted({*(expected or {}), *found}):
        before, after = (values.get(key) for values in (expected or {}, found))
        if key == "computed" and before and after:
            same = before.keys() == after.keys() and all(
                abs(before[k] - after[k]) <= TOLERANCE * abs(before[k]) for k in before
            )
        else:
            same = before == after
        if not same:
            if isinstance(before, list) and isinstance(after, list):
                pairs = [pair for pair in zip(before, after, strict=False) if pair[0] != pair[1]]
                lengths = f"{len(before)} and {len(after)}"
                before, after = pairs[0] if pairs else ("equal at first", lengths)
            yield f"{name}: {key} was {str(before)[:200]}, is {str(after)[:200]}"


def describe_model(model):
    """Variables, their start, parts, tables, and numbers for weights that its paths give."""
    import numpy as np

    variables = [f"{v.path} {tuple(v.shape)}" for v in model.variables]
    start = hashlib.sha256()
    for variable in model.variables:
        start.update(variable.numpy().tobytes())
        if variable.path.endswith(("/kernel", "/bias")):
            rng = np.random.default_rng(zlib.crc32(variable.path.partition("/")[2].encode()))
            value = rng.standard_normal(variable.shape, np.float32)
            scale = 0.1 if len(variable.shape) < 2 else np.prod(variable.shape[:-1]) ** -0.5
            variable.assign(value * np.float32(scale))
    side = model.stride
    x = np.random.default_rng(0).random([1, side, 2 * side, 3], np.float32)
    x_hat, bits = model(x, rung=np.float32([0.4 * (len(model.lambdas) - 1)]))
    sums = {"x_hat": float(np.abs(x_hat).sum())}
    sums |= {part: float(value[0]) for part, value in bits.items()}
    return {
        "variables": variables,
        "start": start.hexdigest(),
        "layers": [layer.name for layer in model.layers],
        "stride": model.stride,
        "parts": [part_as_json(part) for part in model.parts],
        "tables": hash_of_tables(model.table_rows()),
        "computed": {k: v if np.isfinite(v) else -1.0 for k, v in sums.items()},
    }


def part_as_json(part):
    """The keys and values in their order, as config.json has them."""
    return part if isinstance(part, dict) else part.to_json()


def hash_of_tables(rows):
    """SHA-256 of the tables' integers."""
    from tfcodec.coding.tables import CodingTables

    tables, digest = CodingTables.build(rows), hashlib.sha256()
    for key in ("lookup", "offsets", "sizes"):
        digest.update(getattr(tables, key).tobytes())
    return digest.hexdigest()


def describe_export(info):
    """Its fingerprint as written, and that of the export's weights rebuilt as a Keras model."""
    import keras

    from tfcodec.coding.tables import CodingTables
    from tfcodec.exports import rebuild, write
    from tfcodec.exports.weights import form_of, stored_arrays

    model, _ = rebuild.rebuild(info)
    arrays = {}
    for variable in model.variables:
        value = keras.ops.convert_to_numpy(variable.value)
        arrays |= stored_arrays(variable.path, value, form_of(info))
    tables = CodingTables.build(model.table_rows())
    tables = {key: getattr(tables, key) for key in ("lookup", "offsets", "sizes")}
    note = {key: info.config[key] for key in ("profile", "exact") if key in info.config}
    return {
        "written": info.config["fingerprint"],
        "rebuilt": write._fingerprint(arrays, tables, model, note),
    }


def tfcodec(*arguments):
    """Runs the command line of this tree."""
    command = [sys.executable, str(ROOT / "encode_decode.py"), *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def hash_of_decoded(path):
    """SHA-256 of the pixels of a decoded file."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder, "decoded.png")
        tfcodec("decode", path, "-o", target)
        with Image.open(target) as picture:
            return hashlib.sha256(picture.tobytes()).hexdigest()


def hash_of_encoded(path):
    """SHA-256 of the file that the golden file's picture becomes."""
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder, "encoded.tfcd")
        tfcodec("encode", path.with_suffix(".png"), "-o", target)
        return hashlib.sha256(target.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())

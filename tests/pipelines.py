"""Folders of small pictures for pipelines, and what became of them."""

import json
import pathlib

import numpy as np
from PIL import Image


def tree(folder):
    """{path below the folder: bytes} of all files, but for manifests."""
    paths = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: data for name, data in found.items() if not name.startswith("manifest/")}


def lines(folder, task="compress", seconds=False):
    """Entries of all shards of a manifest, in their order; without `seconds`, which run to run
    differ."""
    found = []
    for path in sorted(pathlib.Path(folder, "manifest").glob(f"{task}-*-of-*.jsonl")):
        found += [json.loads(line) for line in path.read_text().splitlines()]
    return found if seconds else [{**entry, "seconds": None} for entry in found]


def dead_letters(folder, task="compress"):
    """{name: sentence}."""
    path = pathlib.Path(folder, "manifest", f"{task}-dead_letters.jsonl")
    letters = [json.loads(line) for line in path.read_text().splitlines()]
    return {letter["name"]: letter["sentence"] for letter in letters}


def photograph(path, seed=0, shape=(24, 40, 3)):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path)
    return path


def photographs(folder="photos"):
    """Pictures of several kinds in three levels, one that is none, and what is left out."""
    for k, shape in enumerate([(24, 40, 3), (33, 17, 3), (20, 20), (16, 24, 4), (24, 40, 3)]):
        place = pathlib.Path(folder, *("deep", "deeper")[: k % 3])
        photograph(place / f"{k}.png", k, shape)
    pathlib.Path(folder, "bad.png").write_bytes(b"no picture")
    pathlib.Path(folder, "notes.txt").write_text("no picture")
    pathlib.Path(folder, ".hidden.png").write_text("no picture")

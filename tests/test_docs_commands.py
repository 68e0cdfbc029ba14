"""Every command of README.md and docs/*.md runs as it stands, in order, in a copy of the checkout.

Blocks marked `sh` are commands. They run in this process, where TensorFlow is imported once:
`tfcodec`, `python encode_decode.py` and `python train_tf.py` are calls of `main`.
Names that stand for somebody's files (`photos/`, `picture.png`, D) are there, with small pictures.
"""

import glob
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny_exports
from PIL import Image

from tfcodec import codec
from tfcodec.commands import main as cli

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])

# How commands begin that cannot run here, and why.
NOT_RUN = {
    "python -m venv": "makes an environment",
    ". venv/bin/activate": "makes an environment",
    "pip ": "installs or downloads packages",
    "npm ": "installs or downloads packages",
    "python3 -m http.server": "serves until it is stopped",
    "pytest": "runs the tests, and so this one",
    "docker": "needs TF Serving",
    "python examples/serve_rest.py": "needs TF Serving",
    "tfcodec convert --from weconvene CHECKPOINT": "needs PyTorch and a checkpoint",
    "tfcodec convert --from tcm CHECKPOINT": "needs PyTorch and a checkpoint",
    "tfcodec encode picture.png --model tcm-n64": "needs what a command above could not make",
    "python train_tf.py --model my_package.my_model": "is run by tests/test_add_a_model.py",
    "python encode_decode.py encode picture.png --model runs/my/model": "likewise",
    "KERAS_BACKEND=jax": "needs a process with another backend, see tests/training",
    "export ": "prepares a shell for other machines",
    "tfcodec train --data D --run_dir runs/all --batch_size 64 --strategy mirrored": "needs GPUs",
    "tfcodec train --data D --run_dir runs/all --batch_size 128 --strategy multi": "needs machines",
    "tfcodec beam": "needs the extra beam, see tests/beam/test_page.py",
    "mkdir -p travel": "packs for another machine",
    "git archive": "packs for another machine",
    "mv travel": "packs for another machine",
    "cp -r saved_models/EXPORT": "packs for another machine",
    "cp SOME": "packs for another machine",
    "cd travel": "is on another machine",
    "python3 train_tf.py": "is on another machine",
}
# How commands begin that take long, and what is appended so that they end soon; run with -m slow.
SLOW = {
    "tfcodec evaluate": "--qualities 2,7 --models runs/mine/model",
    "tfcodec train": "--model mbt2018_mean --preset compact --config filters=6,latents=8 --lambda "
    "0.01,0.02 --steps 2 --batch_size 2 --crop 64 --precision float32 --validate_every 0",
    "tfcodec encode -": "",  # two processes
    "tfcodec decode -": "",
    "tfcodec export": "",
    "tfcodec freeze": "",
    "cp runs/kodak/evaluation.json": "",  # of the evaluation before it
}
# Pages with programs, and the tests that run them.
PROGRAMS = {
    "README.md": "test_readme.py",
    "docs/add_a_model.md": "test_add_a_model.py",
    "docs/beam.md": "beam/test_page.py",
    "docs/keras.md": "test_keras.py",
    "docs/lite.md": "lite/test_lite.py",
}


def blocks(page):
    """(language, text) of the marked blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(page):
    """Lines of shell of a page, continued lines joined, comments gone, taken apart at &&."""
    found = []
    for language, text in blocks(page):
        if language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                code = re.sub(r"\s# .*", "", line)
                found += [" ".join(part.split()) for part in code.split("&&") if part.strip()]
    return found


def beginning(command, table):
    """The entry of a table that a command begins with, None if there is none."""
    bare = re.sub(r"^TFCODEC_MODELS=\S+ ", "", command)
    return next((start for start in table if bare.startswith(start)), None)


def photograph(path, side=72, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    smooth = np.kron(rng.integers(40, 216, [side // 8, side // 8, 3]), np.ones([8, 8, 1]))
    Image.fromarray(smooth.astype(np.uint8)).save(path)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """The working directory: the checkout, of which nothing is changed, and somebody's files."""
    for path in ROOT.iterdir():
        if path.name not in ("docs", "runs") and not path.name.startswith("."):
            (tmp_path / path.name).symlink_to(path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for k, name in enumerate(["photo.jpg", "picture.png", "photos/photo.jpg", "photos/b.jpg"]):
        photograph(tmp_path / name, seed=k)
    for folder in ("photos", "kodak", "D", "V", "held_out"):
        for k in range(4):
            photograph(tmp_path / folder / f"{k}.png", seed=ord(folder[0]) + k)
    for name in ("model", "export"):  # what the pages train
        tiny_exports.tiny_export(tmp_path / "runs" / "mine" / name)
    monkeypatch.chdir(tmp_path)
    codec._open.cache_clear()  # of models of these names in another test's checkout
    return tmp_path


def run(command, more, monkeypatch):
    """Runs one command, by this process where it is ours; returns its exit status."""
    if re.search(r"[<>|]", command):
        shell = {**os.environ, "PATH": f"{pathlib.Path('bin').absolute()}:{os.environ['PATH']}"}
        return subprocess.run(["bash", "-o", "pipefail", "-c", command], env=shell).returncode
    words = shlex.split(command) + shlex.split(more)
    with monkeypatch.context() as context:
        while "=" in words[0]:
            context.setenv(*words.pop(0).split("=", 1))
        words = [found for word in words for found in sorted(glob.glob(word)) or [word]]
        for start in (["tfcodec"], ["python", "encode_decode.py"], ["python", "train_tf.py"]):
            if words[: len(start)] == start:
                train = ["train"] * (start[-1] == "train_tf.py")
                return cli.main([*train, *words[len(start) :]])
        return subprocess.run(words).returncode


def put_on_path(checkout):
    """`tfcodec` as a command, for pipes."""
    (checkout / "bin").mkdir()
    script = checkout / "bin" / "tfcodec"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/encode_decode.py" "$@"\n')
    script.chmod(0o755)


def behind_links():
    """What the checkout itself holds where the copy has links."""
    return sorted(
        path for name in ("models", "saved_models") for path in (ROOT / name).glob("[!_]*")
    )


@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_the_commands_of_a_page_run(page, slow, checkout, monkeypatch):
    put_on_path(checkout)
    before = behind_links()
    pictures = [path for path in checkout.rglob("*g") if path.suffix in (".png", ".jpg")]
    files = [path for path in pictures if path.parent.name != "docs"]  # which holds results
    originals = {path: path.read_bytes() for path in files}
    for command in commands(page):
        begins = beginning(command, SLOW)
        if beginning(command, NOT_RUN) or (begins and not slow):
            continue
        assert run(command, SLOW.get(begins, ""), monkeypatch) == 0, command
    assert {path: path.read_bytes() for path in originals} == originals
    assert behind_links() == before


@pytest.mark.parametrize("table", [NOT_RUN, SLOW])
def test_every_exception_is_still_needed(table):
    found = {beginning(command, table) for page in PAGES for command in commands(page)}
    assert set(table) <= found


def test_every_page_with_programs_has_a_test_that_runs_them():
    pages = {page for page in PAGES if "python" in [language for language, _ in blocks(page)]}
    assert pages == set(PROGRAMS)
    for page, test in PROGRAMS.items():
        text = (ROOT / "tests" / test).read_text(encoding="utf-8")
        runs = "exec(" in text or "import_module(" in text
        assert pathlib.Path(page).name in text and runs


def test_no_command_stands_in_a_block_without_a_mark():
    """Where no test would find it."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert not re.search(r"^(    |```\n)(tfcodec|python|pip) ", text, re.MULTILINE) or (
            page == "docs/follow_one_picture.md"  # which draws what two of them do
        ), page

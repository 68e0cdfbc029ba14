"""Laws of remembered proofs: nothing is trusted that could differ from what was proven."""

import concurrent.futures
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tiny_exports

import tfcodec
from tfcodec import freeze
from tfcodec.errors import ModelError
from tfcodec.exports import installed, loaded, remembered
from tfcodec.exports.functions import Functions

CONFIG = {"fingerprint": "00112233", "steps": []}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFCODEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    info = tiny_exports.tiny_export(folder / "tiny")
    picture = np.random.RandomState(0).randint(0, 256, [64, 96, 3]).astype(np.uint8)
    return freeze.freeze(info, str(folder / "frozen"), [picture])


@pytest.fixture
def proofs(monkeypatch):
    """A list that grows when an export proves itself."""
    seen, prove = [], loaded.Exported._prove
    monkeypatch.setattr(loaded.Exported, "_prove", lambda *args: seen.append(1) or prove(*args))
    return seen


def entries(cache):
    return sorted((cache / "proofs").glob("*"))


def remember():
    remembered.Proof(CONFIG, "content").remember()
    assert remembered.Proof(CONFIG, "content").is_known()


def test_a_machine_proves_an_export_once(frozen, cache, proofs):
    for _ in range(3):
        loaded.Exported(frozen)
    assert len(proofs) == 1 and len(entries(cache)) == 1


def test_the_cache_may_be_deleted_at_any_time(frozen, cache, proofs):
    for times in (1, 2):
        loaded.Exported(frozen)
        loaded.Exported(frozen)
        assert len(proofs) == times
        for entry in entries(cache):
            entry.unlink()
        for folder in (cache / "proofs", cache):
            folder.rmdir()


def test_without_a_cache_each_start_proves(frozen, monkeypatch, proofs):
    monkeypatch.setenv("TFCODEC_CACHE", "")
    for _ in range(2):
        loaded.Exported(frozen)
    assert len(proofs) == 2


def test_a_failed_proof_is_not_remembered(frozen, cache, monkeypatch):
    monkeypatch.setattr(loaded, "known_answer", lambda model: "00000000")
    for _ in range(2):
        with pytest.raises(ModelError, match="its integer arithmetic is not exact here"):
            loaded.Exported(frozen)
    assert entries(cache) == []


def test_a_remembered_proof_is_none_of_other_integers(frozen, cache):
    """They are compared with their SHA-256 at each load, whatever is remembered."""
    loaded.Exported(frozen)
    config = json.loads(json.dumps(frozen.config))
    config["exact"]["convolutions"][0]["slope"] = [1, 2]
    with pytest.raises(ModelError, match="the model's integers are damaged"):
        loaded.Exported(installed.ModelInfo(frozen.name, frozen.path, config))


CPUINFO = "processor\t: {}\nmodel name\t: {}\nflags\t\t: {}\ncpu MHz\t: {}\n"


def changed_processor(monkeypatch, tmp_path, *described):
    (tmp_path / "cpuinfo").write_text("\n".join(CPUINFO.format(*each) for each in described))
    monkeypatch.setattr(remembered, "CPUINFO", str(tmp_path / "cpuinfo"))


def changed(component, monkeypatch, tmp_path):
    """Changes what is true of this machine and this process."""
    if component == "tfcodec":
        monkeypatch.setattr(remembered, "__version__", "99.0")
    elif component == "tensorflow":
        monkeypatch.setattr(tf, "__version__", "99.0")
    elif component == "build":
        monkeypatch.setattr(tf.version, "GIT_VERSION", "another")
    elif component == "libraries":
        (tmp_path / "libtensorflow_x.so").write_bytes(b"x")
        monkeypatch.setattr(tf.sysconfig, "get_lib", lambda: str(tmp_path))
    elif component == "numpy":
        monkeypatch.setattr(np, "__version__", "99.0")
    elif component == "processor":
        changed_processor(monkeypatch, tmp_path, (0, "A Processor", "avx2 fma", 2000))
    elif component == "kernel":
        monkeypatch.setattr(remembered.platform, "release", lambda: "99")
    elif component == "threads":
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(77)))
    elif component == "intra-op threads":
        monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 77)
    elif component == "devices":
        monkeypatch.setattr(
            tf.config.experimental, "get_device_details", lambda device: {"device_name": "another"}
        )
    elif component == "jit":
        monkeypatch.setattr(tf.config.optimizer, "get_jit", lambda: "autoclustering")
    elif component == "optimizer":
        options = {"remapping": False}
        monkeypatch.setattr(tf.config.optimizer, "get_experimental_options", lambda: options)
    else:
        monkeypatch.setenv(component, "changed")


@pytest.mark.parametrize(
    "component",
    [
        "tfcodec",
        "tensorflow",
        "build",
        "libraries",
        "numpy",
        "processor",
        "kernel",
        "threads",
        "intra-op threads",
        "devices",
        "jit",
        "optimizer",
        "TF_ENABLE_ONEDNN_OPTS",
        "TF_XLA_FLAGS",
        "XLA_FLAGS",
        "ONEDNN_MAX_CPU_ISA",
        "DNNL_MAX_CPU_ISA",
        "OMP_NUM_THREADS",
        "LD_PRELOAD",
        "CUDA_VISIBLE_DEVICES",
    ],
)
def test_a_change_of_what_computes_is_proven_anew(cache, component, monkeypatch, tmp_path):
    remember()
    changed(component, monkeypatch, tmp_path)
    assert not remembered.Proof(CONFIG, "content").is_known()


@pytest.mark.parametrize(
    "config, content",
    [
        ({**CONFIG, "fingerprint": "00112234"}, "content"),
        ({**CONFIG, "steps": [1]}, "content"),
        (CONFIG, "another"),
    ],
)
def test_a_change_of_what_is_computed_is_proven_anew(cache, config, content):
    remember()
    assert not remembered.Proof(config, content).is_known()


def test_another_graph_or_other_weights_are_other_content(frozen, tmp_path):
    contents = {Functions(frozen.path).content}
    for file in ("saved_model.pb", "variables/variables.index"):
        copy = tmp_path / file.replace("/", "-")
        shutil.copytree(frozen.path, copy)
        assert Functions(copy).content in contents
        with open(copy / "1" / file, "ab") as end:
            end.write(b"\x7a\x00")  # an unknown field, which a reader of the graph passes over
        contents.add(Functions(copy).content)
    assert len(contents) == 3


@pytest.mark.parametrize("position", [0, 1, 200, -1])
def test_a_damaged_entry_is_not_trusted_and_is_written_again(cache, position):
    remember()
    (entry,) = entries(cache)
    sound = entry.read_bytes()
    damaged = bytearray(sound)
    damaged[position] ^= 1
    for content in (damaged, sound[:position], sound + b" ", b""):
        entry.write_bytes(content)
        assert not remembered.Proof(CONFIG, "content").is_known()
    remember()
    assert entry.read_bytes() == sound


def test_an_entry_under_the_name_of_another_is_not_trusted(cache):
    remember()
    (entry,) = entries(cache)
    other = remembered.Proof({**CONFIG, "steps": [1]}, "content")
    other.remember()
    (name,) = set(entries(cache)) - {entry}
    name.write_bytes(entry.read_bytes())
    assert not other.is_known()


def test_concurrent_writers_leave_one_sound_entry(cache):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: remember(), range(64)))
    assert len(entries(cache)) == 1
    assert remembered.Proof(CONFIG, "content").is_known()


def test_a_cache_that_cannot_be_used_is_as_none(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere"):
        monkeypatch.setenv("TFCODEC_CACHE", str(place))
        proof = remembered.Proof(CONFIG, "content")
        proof.remember()
        assert not proof.is_known()
    assert (tmp_path / "file").read_text() == "no folder"


def test_processors_are_told_apart_by_what_they_can_do_not_by_their_clock(tmp_path, monkeypatch):
    def described(*lines):
        changed_processor(monkeypatch, tmp_path, *lines)
        return remembered.processor()

    one = described((0, "A", "avx2", 2000))
    assert described((0, "A", "avx2", 3000), (1, "A", "avx2", 1000)) == one
    assert described((0, "A", "avx2 avx512f", 2000)) != one
    assert described((0, "B", "avx2", 2000)) != one
    assert len(described((0, "A", "avx2", 2000), (1, "B", "avx2", 2000))) == 2


def test_where_the_processor_is_unknown_nothing_is_remembered(cache, monkeypatch, tmp_path):
    monkeypatch.setattr(remembered, "CPUINFO", str(tmp_path / "none"))
    proof = remembered.Proof(CONFIG, "content")
    proof.remember()
    assert not proof.is_known() and not cache.exists()
    (tmp_path / "none").write_text("processor : 0\nmodel name : A\n")  # but not what it can do
    assert remembered.processor() is None


def test_the_cache_lies_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("TFCODEC_CACHE")
    monkeypatch.setenv("HOME", "/home/somebody")
    for base, expected in {
        "": "/home/somebody/.cache/tfcodec",
        "relative": "/home/somebody/.cache/tfcodec",
        "/var/cache/somebody": "/var/cache/somebody/tfcodec",
    }.items():
        monkeypatch.setenv("XDG_CACHE_HOME", base)
        assert remembered.cache_folder() == pathlib.Path(expected)


def test_old_entries_are_deleted(cache, monkeypatch):
    monkeypatch.setattr(remembered, "MOST_ENTRIES", 3)
    for k in range(6):
        remembered.Proof(CONFIG, str(k)).remember()
        for age, entry in enumerate(entries(cache)):
            os.utime(entry, (1e9 - age, 1e9 - age))
    assert len(entries(cache)) == 3 and remembered.Proof(CONFIG, "5").is_known()


def test_an_entry_tells_nothing_of_the_environment(cache, monkeypatch):
    monkeypatch.setenv("TF_VAR_password", "a secret")
    remember()
    assert b"secret" not in entries(cache)[0].read_bytes()


def test_the_version_is_that_of_the_package():
    described = remembered.describe(CONFIG, "content")
    assert described is None or described["versions"]["tfcodec"] == tfcodec.__version__

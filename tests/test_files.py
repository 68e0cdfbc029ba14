"""The laws of writing: complete or not at all."""

import os
import threading

import pytest

from tfcodec import files
from tfcodec.errors import InputError
from tfcodec.files import atomic_write, replaced_folder


def test_permissions_are_those_of_any_new_file(tmp_path):
    atomic_write(tmp_path / "a", b"data")
    (tmp_path / "b").write_bytes(b"data")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match=r"a: cannot be written \(No space left"):
        atomic_write(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == []


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(InputError, match="the directory .*none does not exist"):
        atomic_write(tmp_path / "none" / "a.png", b"data")


def test_only_regular_files_are_replaced(tmp_path):
    with pytest.raises(InputError, match="this is a directory"):
        atomic_write(tmp_path, b"data")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        atomic_write(tmp_path / "pipe", b"data")


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to("real")
    atomic_write(tmp_path / "link", b"data")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"data"


def fill(folder, text):
    for name in "ab":
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)


def test_a_folder_is_made_and_replaced(tmp_path):
    target = tmp_path / "some" / "folder"
    for text in ("old", "new"):
        with replaced_folder(target) as partial:
            fill(partial, text)
        assert os.listdir(target.parent) == ["folder"]
        assert {(target / name).read_text() for name in "ab"} == {text}


def test_a_block_that_fails_leaves_the_old_folder(tmp_path):
    with replaced_folder(tmp_path / "folder") as partial:
        fill(partial, "old")
    with pytest.raises(KeyboardInterrupt), replaced_folder(tmp_path / "folder") as partial:
        fill(partial, "new")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["folder"]
    assert (tmp_path / "folder" / "a").read_text() == "old"


def test_where_names_cannot_be_exchanged_a_folder_is_replaced_too(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    test_a_folder_is_made_and_replaced(tmp_path)


def test_nobody_sees_a_moment_without_the_folder(tmp_path):
    target, first = tmp_path / "folder", tmp_path / "first"
    first.mkdir()
    (tmp_path / "second").mkdir()
    if not files._exchange(str(first), str(tmp_path / "second")):
        pytest.skip("this system cannot exchange two names")
    with replaced_folder(target) as partial:
        fill(partial, "0")
    missing, done = [], threading.Event()

    def look():
        while not done.is_set():
            if not os.path.exists(target / "b"):
                missing.append(True)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for k in range(100):
            with replaced_folder(target) as partial:
                fill(partial, str(k))
    finally:
        done.set()
        watcher.join()
    assert not missing


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot be written"),
        replaced_folder(tmp_path / "file" / "folder"),
    ):
        raise AssertionError("the block is not entered")

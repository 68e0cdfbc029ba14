"""Folders: the tree is kept, names never collide, and an interrupted run goes on where it was."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
import tiny_exports
from standin import listing, photograph

from tfcodec import files
from tfcodec.coding.format import MAGIC

SCRIPT = pathlib.Path(__file__).parents[1] / "standin_cli.py"


def tree(folder):
    """{path below the folder: bytes} of all files."""
    paths = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def photographs(folder="photos", count=5):
    """Pictures in three levels, all different, and files that are none."""
    for k in range(count):
        place = pathlib.Path(folder, *("deep", "deeper")[: k % 3])
        place.mkdir(parents=True, exist_ok=True)
        photograph(place / f"{k}.png", 8 + k, 8)
    pathlib.Path(folder, "notes.txt").write_text("no picture")
    pathlib.Path(folder, ".hidden.png").write_text("no picture")


class TestTrees:
    def test_a_folder_keeps_its_tree_under_the_output_folder(self, tfcodec):
        photographs()
        status, out, err = tfcodec("encode", "photos", "--output_dir", "out")
        assert status == 0
        assert err == "tfcodec: photos: 5 pictures; 1 other files or links are left out\n"
        expected = ["0.tfcd", "3.tfcd", "deep/1.tfcd", "deep/4.tfcd", "deep/deeper/2.tfcd"]
        assert list(tree("out")) == expected
        order = [line.split()[0] for line in out.splitlines()]
        assert order == [f"photos/{name}".replace("tfcd", "png") for name in expected]
        assert tfcodec("decode", "out", "--output_dir", "back")[0] == 0
        assert list(tree("back")) == [f"{name}.png" for name in expected]

    def test_without_an_output_folder_files_lie_beside_the_pictures(self, tfcodec):
        photographs()
        assert tfcodec("encode", "photos/")[0] == 0
        assert "deep/deeper/2.tfcd" in tree("photos")

    def test_decoded_pictures_are_not_encoded_again(self, tfcodec):
        photographs()
        assert tfcodec("encode", "photos")[0] == tfcodec("decode", "photos")[0] == 0
        before = tree("photos")
        status, _, err = tfcodec("encode", "photos", "--skip_existing")
        assert status == 0 and "5 of 5 outputs are there already" in err
        assert "5 pictures; 11 other files" in err and tree("photos") == before

    def test_loops_of_links_end(self, tfcodec):
        photographs()
        os.symlink("..", "photos/deep/up")
        os.symlink("../photos", "photos/again")
        os.symlink("0.png", "photos/link.png")  # to a file: taken
        assert tfcodec("encode", "photos", "--output_dir", "out")[0] == 0
        assert len(tree("out")) == 6 and "link.tfcd" in tree("out")

    def test_a_folder_that_is_a_link_is_walked(self, tfcodec):
        photographs()
        os.symlink("photos", "album")
        assert tfcodec("encode", "album", "--output_dir", "out")[0] == 0
        assert len(tree("out")) == 5

    def test_pipes_are_not_waited_for_and_broken_links_are_told(self, tfcodec):
        photographs(count=1)
        os.mkfifo("photos/pipe.png")
        os.symlink("nowhere", "photos/broken.png")
        status, _, err = tfcodec("encode", "photos", "--output_dir", "out")
        assert status == 1 and "photos/broken.png: no such file" in err
        assert list(tree("out")) == ["0.tfcd"]

    @pytest.mark.parametrize("command", ["encode", "decode", "verify"])
    def test_a_folder_without_inputs_is_a_failure(self, tfcodec, command):
        os.mkdir("empty")
        status, out, err = tfcodec(command, "empty")
        assert (status, out) == (1, "") and err.startswith("tfcodec: empty: this folder holds no ")

    def test_two_inputs_of_one_output_are_refused_by_name_before_any_work(
        self, tfcodec, codec, capsys
    ):
        photographs(count=2)
        photograph("photos/deep/1.jpg")
        status, out, err = tfcodec("encode", "photos", "--output_dir", "out")
        assert (status, out, codec.loads) == (2, "", 0) and not os.path.exists("out")
        words = "out/deep/1.tfcd, an output of photos/deep/1.png, is an output of photos/deep/1.jpg"
        assert words in err

    def test_folders_and_files_may_be_mixed(self, tfcodec):
        photographs(count=2)
        photograph("a.png")
        assert tfcodec("encode", "photos", "a.png", "--output_dir", "out")[0] == 0
        assert list(tree("out")) == ["0.tfcd", "a.tfcd", "deep/1.tfcd"]

    def test_an_output_folder_in_the_way(self, tfcodec):
        photographs(count=2)
        os.mkdir("out")
        pathlib.Path("out/deep").write_text("a file")
        status, _, err = tfcodec("encode", "photos", "--output_dir", "out")
        assert status == 1 and "out/deep/1.tfcd: cannot be written (File exists)" in err
        assert "0.tfcd" in tree("out")


class TestWhatIsThereAlready:
    def test_it_is_skipped_with_a_count(self, tfcodec, codec):
        photographs()
        tfcodec("encode", "photos", "--output_dir", "out")
        before, loads = tree("out"), codec.loads
        os.unlink("out/3.tfcd")
        pathlib.Path("out/0.tfcd").write_bytes(b"")  # of a loss of power
        status, out, err = tfcodec("encode", "photos", "--output_dir", "out", "--skip_existing")
        assert status == 0 and codec.loads == loads + 2 and out.count("\n") == 2
        assert "3 of 5 outputs are there already and are skipped" in err
        assert tree("out") == before

    def test_a_decoded_picture_never_takes_the_place_of_an_original(self, tfcodec):
        photograph("picture.png")
        original = pathlib.Path("picture.png").read_bytes()
        tfcodec("encode", "picture.png")
        assert tfcodec("decode", "picture.tfcd")[0] == 0
        assert tfcodec("decode", "picture.tfcd", "--overwrite")[0] == 0
        assert tfcodec("decode", "picture.tfcd", "--output_dir", ".", "--overwrite")[0] == 0
        assert tfcodec("decode", "picture.tfcd", "--skip_existing")[0] == 0
        assert pathlib.Path("picture.png").read_bytes() == original
        assert listing() == ["picture.png", "picture.tfcd", "picture.tfcd.png"]

    @pytest.mark.parametrize("name", ["picture", "picture.tfcd", "picture.TFCD", "picture.bin"])
    @pytest.mark.parametrize("suffix", ["png", "jpg"])
    def test_no_default_output_has_the_name_of_an_original(self, tfcodec, name, suffix):
        photograph("picture.png")
        tfcodec("encode", "picture.png", "-o", name)
        assert tfcodec("decode", name, "--format", suffix)[0] == 0
        assert listing() == sorted({name, "picture.png", f"{_stem(name)}.tfcd.{suffix}"})

    @pytest.mark.parametrize("flags", [(), ("--overwrite",)])
    def test_a_file_of_somebody_elses_is_not_replaced_by_a_default_output(self, tfcodec, flags):
        photograph("a.png")
        pathlib.Path("a.tfcd").write_bytes(b"a novel")
        status, _, err = tfcodec("encode", "a.png", *flags)
        words = (
            "exists already and is none of tfcodec's files; name another with -o or --output_dir"
        )
        assert (status, err) == (1, f"tfcodec: a.tfcd: {words}\n")
        assert pathlib.Path("a.tfcd").read_bytes() == b"a novel"
        assert tfcodec("encode", "a.png", "-o", "a.tfcd", "--overwrite")[0] == 0

    def test_a_directory_as_output_is_answered_with_the_flag_for_it(self, tfcodec):
        photograph("a.png")
        os.mkdir("out")
        _, _, err = tfcodec("encode", "a.png", "-o", "out")
        assert err == "tfcodec: out: this is a directory; name a file, or use --output_dir\n"


def _stem(name):
    return name[:-5] if name.lower().endswith(".tfcd") else name


class TestModel:
    def test_a_model_that_is_not_installed_decodes(self, tfcodec, models, monkeypatch):
        photograph("a.png")
        tfcodec("encode", "a.png")
        elsewhere = str(models / "standin")
        monkeypatch.delenv("TFCODEC_MODELS")
        status, _, err = tfcodec("decode", "a.tfcd")
        assert status == 1 and "TFCODEC_MODELS names folders of more models" in err
        assert tfcodec("decode", "a.tfcd", "--model", elsewhere)[0] == 0

    def test_another_model_is_refused_before_it_is_loaded(self, tfcodec, codec):
        photograph("a.png")
        tfcodec("encode", "a.png")
        codec.loads = 0
        status, _, err = tfcodec("decode", "a.tfcd", "--model", "fixed")
        assert status == 1 and codec.loads == 0
        assert (
            "a.tfcd: was written by the model with fingerprint 0badcafe, fixed has 00000000" in err
        )


class TestVerify:
    def test_a_line_for_each_and_status_1_for_a_damaged_one(self, tfcodec, codec):
        photographs(count=4)
        tfcodec("encode", "photos", "--output_dir", "out")
        codec.loads = 0
        assert tfcodec("verify", "out", "out/0.tfcd")[0] == 0
        path = pathlib.Path("out/deep/1.tfcd")
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        status, out, err = tfcodec("verify", "out")
        assert status == 1 and codec.loads == 0
        assert out.count("  sound\n") == 3 and "out/deep/1.tfcd: " in err and "CRC-32" in err

    def test_damaged_alpha_is_seen_without_decoding(self, tfcodec):
        from dataclasses import replace

        from tfcodec.coding import container

        photograph("a.png", channels=4)
        tfcodec("encode", "a.png")
        path = pathlib.Path("a.tfcd")
        packed = replace(container.unpack(path.read_bytes()), alpha=b"no PNG")
        path.write_bytes(container.pack(packed))
        status, _, err = tfcodec("verify", "a.tfcd")
        assert status == 1 and "a.tfcd: the alpha part is not a PNG" in err

    def test_decoding_is_done_on_request(self, tfcodec, codec, monkeypatch):
        monkeypatch.setattr("tfcodec.commands.verify.load_codec", codec.load)
        photograph("a.png")
        tfcodec("encode", "a.png")
        codec.loads = 0
        assert tfcodec("verify", "a.tfcd", "--decode")[0] == 0 and codec.loads == 1
        assert listing() == ["a.png", "a.tfcd"]


class TestInterruptions:
    def run(self, *argv, script=SCRIPT, seconds="0.02", after=None, number=None):
        """Starts a command line, sends it a signal after a while; returns its exit status."""
        process = subprocess.Popen(
            [sys.executable, script, *argv],
            env={**os.environ, "STANDIN_SECONDS": seconds},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if number is not None:
            time.sleep(after)
            process.send_signal(number)
        _, err = process.communicate()
        assert number or b"Traceback" not in err  # the script's own imports are not ours
        return process.returncode

    def interrupted(self, first, interruptions, latest, script=SCRIPT):
        """Encodes 40 pictures and decodes them, each with so many interruptions by all signals."""
        photographs(count=40)
        undisturbed = {"script": script, "seconds": "0"}
        assert self.run(*first, "photos", "--output_dir", "clean", **undisturbed) == 0
        assert self.run("decode", "clean", "--output_dir", "shown", **undisturbed) == 0
        chance = random.Random(interruptions)
        for command, source, target, expected in (
            (first, "photos", "out", "clean"),
            (("decode",), "out", "back", "shown"),
        ):
            argv = (*command, source, "--output_dir", target, "--skip_existing")
            for k in range(interruptions):
                number = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[k % 3]
                after = chance.uniform(0.1, latest)
                self.run(*argv, script=script, after=after, number=number)
            assert self.run(*argv, **undisturbed) == 0
            assert tree(target) == tree(expected)

    @pytest.mark.parametrize(
        "interruptions", [3, pytest.param(10, marks=pytest.mark.slow)], ids=["short", "long"]
    )
    def test_a_run_that_is_interrupted_and_started_again_gives_the_tree_of_a_clean_one(
        self, here, interruptions
    ):
        """Whatever ends it, and whenever."""
        self.interrupted(("encode",), interruptions, latest=1.2)

    @pytest.mark.slow
    def test_so_it_does_with_a_model(self, here, models):
        tiny_exports.tiny_export(models / "tiny")
        script = SCRIPT.parents[1] / "encode_decode.py"
        self.interrupted(("encode", "--model", "tiny"), 10, latest=12, script=script)

    def test_what_a_killed_process_left_is_removed_and_what_is_being_written_stays(self, here):
        partial, descriptor = files._open_partial(".")
        (here / ".tfcodec-0123.part").write_bytes(MAGIC)
        files.remove_leftovers(".")
        assert listing() == [os.path.basename(partial)]
        os.close(descriptor)  # as when its process ends
        files.remove_leftovers(".")
        assert listing() == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize(
        "module", ["tfcodec.commands.encode", "numpy", "PIL.Image", "datetime", "tensorflow"]
    )
    def test_an_interrupt_during_the_imports_is_no_traceback(self, here, number, module):
        photograph("a.png")
        code = (
            "import os, sys\n"
            "class Finder:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == {module!r}: os.kill(os.getpid(), {int(number)})\n"
            "from tfcodec.commands import main\n"
            "sys.meta_path.insert(0, Finder())\n"
            "sys.argv = ['tfcodec', 'encode', 'a.png', '--model', 'standin']\n"
            "main.run()\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", b"")
        assert listing() == ["a.png"]

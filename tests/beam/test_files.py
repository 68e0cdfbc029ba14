"""Folders through a pipeline: the bytes and sentences of the command line, once and again."""

import json
import os
import pathlib
import shutil

import pytest
from pipelines import dead_letters, lines, photograph, photographs, tree

from tfcodec import codec, metrics, pictures
from tfcodec.commands import main as cli

pytest.importorskip("apache_beam", reason="needs the extra beam")

from tfcodec.beam.manifest import sha256  # noqa: E402
from tfcodec.beam.tasks import CompressTask  # noqa: E402


@pytest.fixture
def run(here, capsys):
    """Runs a command line; returns (status, stdout, stderr)."""

    def run(words):
        capsys.readouterr()
        return cli.main(words.split()), *capsys.readouterr()

    return run


@pytest.fixture
def compress(run):
    """Compresses photos/ to small/, with more flags; the same as `run`."""
    photographs()
    words = "beam compress --input photos --output small --model models/tiny "
    return lambda more="": run(words + more)


def journal_of(folder):
    """Turns a finished run into one that was killed before its end: entries in a journal alone."""
    journal = pathlib.Path(folder, "manifest", "compress-unfinished", "journal", "j.jsonl")
    journal.parent.mkdir(parents=True)
    entries = lines(folder, seconds=True)
    for path in pathlib.Path(folder, "manifest").glob("compress-*"):
        if path.is_file():
            path.unlink()
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    journal.write_text(text + '{"name": "torn')
    return entries


class TestTheCommandLine:
    def test_compress_writes_the_files_of_encode_and_its_sentences(self, run, compress):
        status, out, err = compress("--quality 3")
        assert status == 1 and out.startswith("small  5 done  0 there already  1 dead letters  ")
        status, _, sentences = run(
            "encode photos --output_dir other --model models/tiny --quality 3"
        )
        assert status == 1 and err.splitlines()[-1] == sentences.splitlines()[-1]
        assert tree("small") == tree("other") and len(tree("small")) == 5
        assert dead_letters("small") == {"photos/bad.png": err.splitlines()[-1][len("tfcodec: ") :]}

    def test_decompress_writes_the_files_of_decode(self, run, compress):
        compress()
        photograph("small/false.tfcd.png").rename("small/false.tfcd")
        status, out, err = run("beam decompress --input small --output back --format webp")
        assert status == 1 and out.startswith("back  5 done  0 there already  1 dead letters  ")
        sentences = run("decode small --output_dir other --format webp")[2]
        assert sentences.splitlines()[-1] + "\n" == err
        assert tree("back") == tree("other") and len(tree("back")) == 5

    @pytest.mark.parametrize("flags", ["", "--decode"])
    def test_verify_finds_what_verify_finds(self, run, compress, flags):
        compress()
        path = pathlib.Path("small/0.tfcd")
        path.write_bytes(path.read_bytes()[:-1])
        status, out, err = run(f"beam verify --input small --output report {flags}")
        assert status == 1 and out.startswith("report  4 done  0 there already  1 dead letters")
        assert run(f"verify small {flags}")[2].splitlines()[-1] + "\n" == err
        assert tree("report") == {}

    def test_flags_that_neither_knows_are_refused(self, compress):
        status, _, err = compress("--qualty 3")
        assert status == 2 and "unrecognized arguments: --qualty; did you mean --quality?" in err
        assert not os.path.exists("small")

    @pytest.mark.parametrize(
        "flags, words",
        [
            ("--model none", "there is no model 'none'"),
            ("--output small[1]", "small[1]: the output folder's name must hold none of * ? ["),
        ],
    )
    def test_what_cannot_be_is_one_sentence(self, compress, flags, words):
        status, out, err = compress(flags)
        assert status == 1 and out == "" and words in err and err.count("\n") == 1

    def test_a_pattern_without_files_is_a_dead_letter(self, run, here):
        status, _, err = run("beam verify --input none/* gone.tfcd --output o")
        assert status == 1 and "tfcodec: gone.tfcd: no such file\n" in err
        assert "tfcodec: none/*: no file of the kind that is taken matches this\n" in err


class TestManifest:
    def test_it_says_of_each_picture_what_became_of_it(self, run, compress):
        compress("--quality 3 --measure")
        entries = {entry["name"]: entry for entry in lines("small", seconds=True)}
        assert list(entries) == ["0.png", "3.png", "deep/1.png", "deep/4.png", "deep/deeper/2.png"]
        for name, entry in entries.items():
            data = pathlib.Path("small", entry["output"]).read_bytes()
            assert entry["output_sha256"] == sha256(data)
            assert entry["output_bytes"] == len(data) and entry["offset"] is None
            source = pathlib.Path("photos", name).read_bytes()
            assert entry["input_sha256"] == sha256(source)
            assert entry["bpp"] == 8 * len(data) / (entry["width"] * entry["height"])
            picture = pictures.read(pathlib.Path("photos", name))
            shown = codec.decode_file_bytes(data)
            assert entry["psnr"] == metrics.psnr(picture.rgb, shown.rgb, picture.alpha)
            assert entry["seconds"] > 0
            assert entry["model"].startswith("tiny ")
            assert entry["settings"].endswith(" quality=3 measure")
        assert (entries["0.png"]["width"], entries["0.png"]["height"]) == (40, 24)

    def test_parquet_says_the_same(self, compress):
        from pyarrow import parquet

        compress("--shards 2")
        for path in pathlib.Path("small/manifest").glob("*.jsonl"):
            if "-of-" in path.name:
                rows = [json.loads(line) for line in path.read_text().splitlines()]
                assert parquet.read_table(path.with_suffix(".parquet")).to_pylist() == rows
        assert len(list(pathlib.Path("small/manifest").glob("*-of-00002.parquet"))) == 2

    def test_another_number_of_shards_leaves_none_of_before(self, compress):
        compress("--shards 2")
        before = sorted(lines("small"), key=lambda entry: entry["name"])
        compress()
        assert lines("small") == before

    def test_a_run_over_other_inputs_keeps_the_entries(self, run, compress):
        compress()
        before = lines("small")
        photograph("more/new.png", 9)
        run("beam compress --input more --output small --model models/tiny")
        assert [e for e in lines("small") if e["name"] != "new.png"] == before


class TestAgain:
    """A run does what is left to do, and ends as one that did it all."""

    def test_a_finished_run_is_not_done_again(self, compress):
        compress()
        before, entries = tree("small"), lines("small", seconds=True)
        assert "  0 done  5 there already  1 dead letters" in compress()[1]
        assert tree("small") == before and lines("small", seconds=True) == entries

    def test_a_killed_run_goes_on_by_its_journal(self, compress):
        compress()
        before = tree("small")
        entries = journal_of("small")
        pathlib.Path("small/0.tfcd").unlink()  # had its entry, and not yet its name
        partial = pathlib.Path("small/manifest/compress-unfinished/partial/half")
        partial.parent.mkdir()
        partial.write_bytes(b"half")
        assert "  1 done  4 there already  1 dead letters" in compress()[1]
        assert tree("small") == before
        again = lines("small", seconds=True)
        assert [e for e in again if e["name"] != "0.png"] == entries[1:]
        assert not pathlib.Path("small/manifest/compress-unfinished").exists()

    def change_output():
        pathlib.Path("small/0.tfcd").write_bytes(b"other")

    def lengthen_output():
        with open("small/0.tfcd", "ab") as file:
            file.write(b"x")

    def change_input():
        photograph("photos/0.png", 77)

    @pytest.mark.parametrize("change", [change_output, lengthen_output, change_input])
    def test_what_changed_is_done_again(self, compress, change):
        compress()
        change()
        assert "  1 done  4 there already" in compress()[1]
        shutil.rmtree("small/manifest")
        found = tree("small")
        compress()
        assert tree("small") == found

    def test_other_settings_are_other_work(self, compress):
        compress("--quality 2")
        assert "  5 done  0 there already" in compress("--quality 3")[1]

    def test_what_was_bad_is_tried_again(self, compress):
        compress()
        photograph("photos/bad.png")
        status, out, _ = compress()
        assert status == 0 and "  1 done  5 there already  0 dead letters" in out
        assert dead_letters("small") == {}

    def test_a_failure_that_is_no_fault_of_a_picture_ends_the_run(self, compress, monkeypatch):
        done, work_on = [], CompressTask.work

        def fail(self, data, name):
            if len(done) == 3:
                raise OSError("disk full")
            done.append(name)
            return work_on(self, data, name)

        with monkeypatch.context() as context:
            context.setattr(CompressTask, "work", fail)
            status, _, err = compress()
            assert status == 1 and "disk full" in err
        status, out, _ = compress()
        there = len(done) - ("photos/bad.png" in done)
        assert f"  {5 - there} done  {there} there already  1 dead letters" in out


class TestNames:
    def test_two_inputs_of_one_output_are_both_refused(self, run, here):
        photograph("photos/a.png", 1)
        photograph("photos/a.jpg", 2)
        photograph("photos/b.png", 3)
        status, out, _ = run("beam compress --input photos --output small --model models/tiny")
        assert status == 1 and list(tree("small")) == ["b.tfcd"]
        sentence = "photos/a.jpg: its output a.tfcd is an output of photos/a.png, too; rename one"
        assert dead_letters("small")["photos/a.jpg"] == sentence
        assert set(dead_letters("small")) == {"photos/a.jpg", "photos/a.png"}

    def test_one_input_under_two_patterns_is_one(self, run, here):
        photograph("photos/a.png", 1)
        words = "beam compress --input photos photos/* photos/a.png --output small --model tiny"
        status, out, _ = run(words)
        assert status == 0 and "  1 done" in out

    def test_names_that_look_like_patterns_are_names(self, run, here):
        photograph("photos/a[1].png", 1)
        run("beam compress --input photos/a[1].png --output small --model tiny")
        assert list(tree("small")) == ["a[1].tfcd"]

    def test_a_name_that_is_no_text_is_a_dead_letter(self, run, here):
        photograph("photos/a.png", 1)
        os.rename("photos/a.png", b"photos/a\xff.png")
        status, _, err = run("beam compress --input photos --output small --model tiny")
        assert status == 1 and "its name is no UTF-8; rename it" in err

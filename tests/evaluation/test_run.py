"""Laws of `tfcodec evaluate` and `tfcodec compare`: real workers, small pictures, a tiny model."""

import argparse
import csv
import dataclasses
import json
import os
import pathlib
import signal

import numpy as np
import pytest
import tiny_exports
from evaluations import kodak_evaluation
from PIL import Image

from tfcodec import metrics
from tfcodec.commands import evaluate
from tfcodec.commands import main as cli
from tfcodec.errors import InputError, ModelError
from tfcodec.evaluation import comparison, contenders, curves
from tfcodec.evaluation.contenders import pillow
from tfcodec.evaluation.run import COLUMNS, Evaluation, read_source
from tfcodec.evaluation.summary import laws, mean_points, summarise, to_json

LIMIT = 2**20


def photograph(path, height=176, width=190, seed=0):
    """Smooth, with some texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 40.0
    smooth = np.stack([np.sin(x + c) + np.cos(x * y - c) for c in range(3)], axis=2)
    array = np.clip(128 + 45 * smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    Image.fromarray(array).save(path)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    photograph(folder / "a.png")
    photograph(folder / "small.png", 40, 70, seed=1)
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


@pytest.fixture
def jpeg():
    return pillow("jpeg")


def open_run(folder, output, codecs, names=("a", "small")):
    sources = [read_source(str(folder / f"{name}.png"), LIMIT) for name in names]
    return Evaluation(sources, codecs, str(output), LIMIT)


@pytest.fixture(scope="module")
def run(folder):
    """(status, output directory, command line) of one whole run."""
    model = tiny_exports.tiny_export(str(folder / "tiny"))
    names = ("a.png", "bad.png", "missing.png", "small.png")
    inputs = [str(folder / name) for name in names]
    argv = ["evaluate", *inputs, "--models", model.path, "--qualities", "2,7"]
    argv += ["--against", "jpeg,vtm", "--output_dir", str(folder / "out")]
    return cli.main(argv), folder / "out", argv


class TestCommand:
    """One run of the whole command, looked at from all sides."""

    def test_bad_pictures_are_skipped_and_make_status_1(self, run):
        status, output, _ = run
        assert status == 1
        evaluation = comparison.read(output / "evaluation.json")
        assert evaluation["pictures"] == ["a", "small"] and evaluation["left_out"] == []

    def test_sizes_and_distortions_are_those_of_the_files(self, run, folder):
        _, output, _ = run
        points = comparison.read(output / "evaluation.json")["points"]
        assert len(points) == 2 * (2 + len(contenders.PILLOW["jpeg"].ladder))
        for point in points:
            file = output / point["file"]
            assert file.stat().st_size == point["bytes"]
            assert point["bpp"] == 8 * point["bytes"] / (point["width"] * point["height"])
            if point["codec"] == "jpeg":
                shown = np.asarray(Image.open(file))
                original = np.asarray(Image.open(folder / f"{point['picture']}.png"))
                assert point["psnr"] == metrics.psnr(original, shown)
                assert point["ms_ssim"] == metrics.ms_ssim(original, shown)
            assert (point["ms_ssim"] is None) == (point["picture"] == "small")
            assert point["encode_seconds"] > 0 and point["decode_seconds"] > 0
            assert point["encode_peak_mib"] > 10 and point["decode_peak_mib"] > 10

    def test_csv_and_json_agree(self, run):
        _, output, _ = run
        with open(output / "points.csv", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if not row["target_bytes"]]
        points = comparison.read(output / "evaluation.json")["points"]
        assert list(rows[0]) == list(COLUMNS)
        key = lambda p: (p["picture"], p["codec"], float(p["quality"]))  # noqa: E731
        for row, point in zip(sorted(rows, key=key), sorted(points, key=key), strict=True):
            assert float(row["psnr"]) == point["psnr"] and int(row["bytes"]) == point["bytes"]

    def test_the_decoder_shows_what_the_encoder_promised(self, run):
        _, output, _ = run
        evaluation = comparison.read(output / "evaluation.json")
        law = evaluation["codecs"]["tiny"]["laws"]
        assert law["files"] == 4 and law["other_pixels"] == 0
        assert evaluation["codecs"]["jpeg"]["laws"] is None

    def test_the_model_is_described(self, run):
        _, output, _ = run
        model = comparison.read(output / "evaluation.json")["codecs"]["tiny"]
        assert model["parameters"] > 1000 and model["kmac_per_pixel"]["decoder"] > 0
        assert [set(p) for p in model["measured"]] == [{"quality", "bpp", "psnr", "ms_ssim"}] * 2

    def test_starting_again_measures_nothing_and_says_the_same(self, run, monkeypatch, capsys):
        _, output, argv = run
        before = {p: (output / p).read_bytes() for p in ("points.csv", "evaluation.json")}
        measured = []
        monkeypatch.setattr(Evaluation, "_measure", measured.append)
        assert cli.main(argv) == 1
        assert "30 of 30 points are there already" in capsys.readouterr().err
        assert not measured
        assert before == {p: (output / p).read_bytes() for p in before}

    def test_published_curves_are_for_kodak_alone(self, run, capsys):
        _, output, _ = run
        argv = ["compare", str(output / "evaluation.json"), "--against", "jpeg,vtm"]
        assert cli.main(argv) == 0
        out, err = capsys.readouterr()
        assert "vtm: left out, it was published on Kodak and these are other pictures" in err
        assert "BD-rate of tiny" in out and "VTM" not in out and "| JPEG |" in out

    def test_compare_makes_again_what_evaluate_made(self, run, tmp_path):
        _, output, _ = run
        argv = ["compare", str(output / "evaluation.json"), "--figure", str(tmp_path / "c.png")]
        assert cli.main([*argv, "--table", str(tmp_path / "t.md")]) == 0
        assert (tmp_path / "t.md").read_bytes() == (output / "tables.md").read_bytes()
        assert (tmp_path / "c.png").read_bytes() == (output / "curves.png").read_bytes()

    def test_the_reports_files_are_within_the_rate(self, run):
        _, output, _ = run
        with open(output / "points.csv", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["target_bytes"]]
        assert {row["codec"] for row in rows} == {"tiny", "jpeg"}
        for row in rows:
            smallest = float(row["quality"]) == 1  # of both codecs: nothing smaller exists
            assert int(row["bytes"]) <= int(row["target_bytes"]) or smallest
        assert "data:image/jpeg;base64," in (output / "report.html").read_text()


class TestResuming:
    def test_a_lost_line_and_a_lost_file_are_measured_again(self, folder, tmp_path, jpeg):
        with open_run(folder, tmp_path, [jpeg], ["small"]) as run:
            tasks = run.tasks()[:3]
            points = [run.measure(task) for task in tasks]
        text = (tmp_path / "points.csv").read_text()
        (tmp_path / "points.csv").write_text(text[:-20])  # stopped in the middle of a line
        os.unlink(tmp_path / points[0]["file"])
        with open_run(folder, tmp_path, [jpeg], ["small"]) as run:
            known = [run.known(task) for task in run.tasks()[:3]]
            assert known == [None, points[1], None]
            again = run.measure(run.tasks()[2])
        assert again["bytes"] == points[2]["bytes"]
        assert (tmp_path / "points.csv").read_text().count("\n") == 1 + 3

    def test_another_picture_or_version_is_another_point(self, folder, tmp_path, jpeg):
        with open_run(folder, tmp_path, [jpeg], ["small"]) as run:
            run.measure(run.tasks()[0])
        newer = dataclasses.replace(jpeg, version="Pillow 99")
        with open_run(folder, tmp_path, [newer], ["small"]) as run:
            assert run.known(run.tasks()[0]) is None
        photograph(tmp_path / "small.png", 40, 70, seed=9)
        with open_run(tmp_path, tmp_path, [jpeg], ["small"]) as run:
            assert run.known(run.tasks()[0]) is None

    def test_a_foreign_points_csv_is_refused(self, folder, tmp_path, jpeg):
        (tmp_path / "points.csv").write_text("a,b\n1,2\n")
        with pytest.raises(InputError, match="other columns"):
            open_run(folder, tmp_path, [jpeg])


def listed(model):
    """A model that can be found, though not loaded."""
    model.mkdir()
    config = {"name": "listed", "fingerprint": "00000000", "qualities": [1, 8]}
    (model / "config.json").write_text(json.dumps(config))
    return str(model)


class TestTrouble:
    def test_a_worker_that_ends_is_a_sentence_and_the_next_one_works(self, folder, tmp_path, jpeg):
        with open_run(folder, tmp_path, [jpeg], ["small"]) as run:
            first, second = run.tasks()[:2]
            run.measure(first)
            run._workers[jpeg, "encode"]._process.kill()
            with pytest.raises(ModelError, match="process to encode with jpeg ended with status"):
                run.measure(second)
            assert run.measure(second)["bytes"] > 0

    def test_an_interrupt_ends_the_workers_at_once(self, folder, tmp_path, jpeg):
        workers = []
        with pytest.raises(KeyboardInterrupt), open_run(folder, tmp_path, [jpeg]) as run:
            run.measure(run.tasks()[0])
            workers += [worker._process for worker in run._workers.values()]
            assert len(workers) == 2
            assert os.getpgrp() not in [os.getpgid(worker.pid) for worker in workers]
            raise KeyboardInterrupt
        assert [worker.returncode for worker in workers] == [-signal.SIGKILL] * 2

    def test_what_goes_on_after_the_tables_is_said(self, folder, tmp_path, jpeg, capsys):
        with open_run(folder, tmp_path, [jpeg]) as run:
            asked = argparse.Namespace(report_bpp=0.3, output_dir=tmp_path)
            argv = (evaluate.Console(1), comparison.Comparison(kodak_evaluation(24), [], []), b"")
            evaluate._report(asked, run, run.pictures[:1], *argv)
            words = "the tables are complete; now 1 files of at most 0.3 bits per pixel for the"
            assert words in capsys.readouterr().err
            evaluate._report(asked, run, run.pictures[:1], *argv)
            assert capsys.readouterr().err == ""
        assert (tmp_path / "report.html").exists()

    def test_a_picture_that_one_codec_cannot_do_is_in_no_mean(self, folder, tmp_path, jpeg):
        with open_run(folder, tmp_path, [jpeg]) as run:
            for task in run.tasks():
                if task.picture.name == "a":
                    run.measure(task)
            notices = []
            summary = summarise(run, notices.append)
        assert summary["pictures"] == ["a"] and summary["left_out"] == ["small"]
        assert notices == ["left out of all means, for want of a point: small"]

    def test_a_codec_that_pillow_lacks_is_left_out_with_a_notice(self, monkeypatch, capsys, folder):
        gone = dataclasses.replace(contenders.PILLOW["avif"], format="GONE")
        monkeypatch.setitem(contenders.PILLOW, "avif", gone)
        argv = ["evaluate", str(folder / "bad.png"), "--against", "avif", "--output_dir", "unused"]
        assert cli.main([*argv, "--models", listed(folder / "listed")]) == 1
        err = capsys.readouterr().err
        assert "avif: left out, this Pillow does not write it" in err
        assert "bad.png: " in err and not pathlib.Path("unused").exists()

    @pytest.mark.parametrize(
        "argv, words",
        [
            (("--qualities", "1,9"), "from 1 (smallest file) to 8 (best)"),
            (("--against", "jpeg,jpeg"), "each of them once"),
            (("--report_images", "b"), "'b' is none of the pictures' names"),
            (("x/a.png",), "two pictures have one name: a.png and x/a.png"),
        ],
    )
    def test_wrong_command_lines(self, argv, words, capsys):
        assert cli.main(["evaluate", "a.png", *argv, "--output_dir", "o"]) == 2
        assert words in " ".join(capsys.readouterr().err.split())

    @pytest.mark.parametrize(
        "words, sentence",
        [
            (["missing.png", "--output_dir", "unused"], "missing.png: no such file"),
            (["missing.png", "--output_dir", __file__], "cannot be a directory, since"),
        ],
    )
    def test_what_cannot_be_is_said_before_tensorflow_is_imported(
        self, folder, monkeypatch, capsys, words, sentence
    ):
        monkeypatch.setattr(evaluate, "import_tensorflow", lambda: pytest.fail("imported"))
        argv = ["evaluate", *words, "--models", listed(folder / f"listed-{len(words[2])}")]
        assert cli.main(argv) == 1
        assert sentence in capsys.readouterr().err

    def test_an_unknown_curve_is_refused_before_any_work(self, capsys, folder):
        argv = [
            "--models",
            listed(folder / "unused"),
            "--against",
            "vvc",
            "--output_dir",
            str(folder / "none"),
        ]
        assert cli.main(["evaluate", str(folder / "a.png"), *argv]) == 1
        err = capsys.readouterr().err
        assert "there is no curve 'vvc'" in err and "vtm" in err
        assert not (folder / "none").exists()


def point(picture, quality, bpp, psnr, ms_ssim=None):
    return {"picture": picture, "quality": quality, "bpp": bpp, "psnr": psnr, "ms_ssim": ms_ssim}


class TestWithoutLoss:
    """A picture at infinite PSNR is in no mean, of no codec, and that is said."""

    def measured(self, folder, tmp_path, jpeg, names):
        Image.fromarray(np.zeros([176, 190, 3], np.uint8)).save(folder / "black.png")
        codec = dataclasses.replace(jpeg, ladder=(10, 50))  # both show black exactly
        with open_run(folder, tmp_path, [codec], names) as run:
            for task in run.tasks():
                run.measure(task)
            notices = []
            return summarise(run, notices.append), notices

    def test_it_is_left_out_of_all_means_and_named(self, folder, tmp_path, jpeg):
        with_black, notices = self.measured(folder, tmp_path / "1", jpeg, ["a", "black"])
        alone, _ = self.measured(folder, tmp_path / "2", jpeg, ["a"])
        assert with_black["codecs"]["jpeg"]["measured"] == alone["codecs"]["jpeg"]["measured"]
        assert with_black["pictures"] == ["a"] and with_black["without_loss"] == ["black"]
        assert notices == ["left out of all means, since a codec shows it without loss: black"]
        assert len(with_black["points"]) == 4
        own = curves.from_evaluation(with_black)
        notes = comparison.compare(with_black, own, [], print).notes()
        assert any("without loss, at infinite PSNR: black" in note for note in notes)

    def test_where_it_is_the_only_one_there_is_no_mean_psnr(self, folder, tmp_path, jpeg):
        summary, _ = self.measured(folder, tmp_path, jpeg, ["black"])
        assert summary["pictures"] == ["black"] and summary["without_loss"] == []
        assert [point["psnr"] for point in summary["codecs"]["jpeg"]["measured"]] == [None, None]


class TestOtherPictures:
    """Curves are compared over the same pictures alone."""

    def compare(self, tmp_path, capsys, there, here=("a", "b")):
        for name, names in (("here", here), ("there", there)):
            evaluation = kodak_evaluation(24)
            evaluation["pictures"] = list(names)
            evaluation["points"] = [
                {"picture": picture, "picture_id": identity} for picture, identity in names.items()
            ]
            (tmp_path / f"{name}.json").write_text(json.dumps(evaluation))
        paths = [str(tmp_path / f"{name}.json") for name in ("here", "there")]
        return cli.main(["compare", paths[0], "--against", paths[1]]), capsys.readouterr().err

    @pytest.mark.parametrize(
        "there, words",
        [
            ({"a": "1", "c": "3"}, "only here b; only there c"),
            ({"a": "1", "b": "9"}, "only here b; only there b"),
            ({"a": "1"}, "only here b"),
            (dict.fromkeys("abcdefg", "1"), "only here b; only there b, c, d, ..."),
        ],
    )
    def test_others_are_refused_by_name(self, tmp_path, capsys, there, words):
        status, err = self.compare(tmp_path, capsys, there, {"a": "1", "b": "2"})
        assert status == 1 and "there.json: was measured on other pictures" in err
        assert err.endswith(f": {words}\n")

    @pytest.mark.parametrize("there", [{"b": "2", "a": "1"}, {"b": None, "a": "1"}])
    def test_the_same_are_compared_by_name_where_no_more_is_known(self, tmp_path, capsys, there):
        assert self.compare(tmp_path, capsys, there, {"a": "1", "b": "2"}) == (0, "")


def test_a_bd_rate_that_there_is_not_has_its_reason_below_the_tables():
    evaluation = kodak_evaluation(24)
    own = curves.from_evaluation(evaluation)
    point = curves.Curve("point", "A point", ((1.0, 30.0, None),))
    notes = comparison.Comparison(evaluation, own, [point]).notes()
    missing = [note for note in notes if note.startswith("No BD-rate of ours against A point in ")]
    assert len(missing) == 3 and all("needs two points or more" in note for note in missing)


def test_a_figure_is_a_png(capsys):
    assert cli.main(["compare", "e.json", "--figure", "x.jpg"]) == 2
    assert "the figure is a PNG, name it FILE.png, received x.jpg" in capsys.readouterr().err


def test_means_are_over_pictures_and_ms_ssim_over_the_large_ones():
    points = [point("a", 1, 0.1, 30.0, 0.9), point("b", 1, 0.3, 34.0), point("a", 2, 0.5, None)]
    assert mean_points(points) == [
        {"quality": 1, "bpp": pytest.approx(0.2), "psnr": 32.0, "ms_ssim": 0.9},
        {"quality": 2, "bpp": 0.5, "psnr": None, "ms_ssim": None},
    ]


def test_laws_count_what_breaks_them():
    good = {"bytes": 10060, "estimated_bytes": 10000.0, "identical": 1}
    far = {**good, "bytes": 10100}
    other = {**good, "identical": 0}
    law = laws([good, far, other])
    assert (law["files"], law["far_from_estimate"], law["other_pixels"]) == (3, 1, 1)
    assert law["largest_excess_bytes"] == 100
    assert law["largest_share_of_allowed"] == pytest.approx(100 / 82)


def test_bd_rate_against_a_published_curve(tmp_path, capsys):
    path = tmp_path / "evaluation.json"
    path.write_text(to_json(kodak_evaluation(24)))
    assert cli.main(["compare", str(path), "--against", "vtm,weconvene3d"]) == 0
    out, err = capsys.readouterr()
    assert "| VTM-9.1 intra 4:4:4 | -10.0 | 26.1 - 46.6 | -10.0 | -10.0 |" in out
    assert "weconvene3d: left out, its source gives no points" in err and "mean over" not in err


def test_a_part_of_kodak_is_compared_with_a_notice(tmp_path, capsys):
    path = tmp_path / "evaluation.json"
    path.write_text(to_json(kodak_evaluation(3)))
    assert cli.main(["compare", str(path), "--against", "vtm"]) == 0
    assert "vtm: is a mean over 24 Kodak pictures, these are 3 of them" in capsys.readouterr().err


def test_an_evaluation_is_a_file_of_curves(tmp_path, capsys):
    path = tmp_path / "evaluation.json"
    path.write_text(to_json(kodak_evaluation(24)))
    [curve] = curves.read(path)
    assert curve.kind == "model" and curve.psnr[0] == (0.9 * 0.0482, 26.145)
    assert cli.main(["compare", str(tmp_path / "nothing.json")]) == 1
    assert "cannot be read" in capsys.readouterr().err

"""docs/beam.md: its commands and its program run as they stand, those of clusters aside."""

import re

import pytest
from pipelines import photograph, tree
from test_docs_commands import ROOT, blocks, commands

from tfcodec.commands import main as cli

pytest.importorskip("apache_beam", reason="needs the extra beam")

PAGE = "docs/beam.md"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for worker processes
    for k in range(3):
        photograph(f"photos/{k}.png", k)
    photograph("photo.jpg")


def test_the_commands_run(photos):
    ours = [line for line in commands(PAGE) if line.startswith("tfcodec ")]
    ran = [line for line in ours if "--runner" not in line]
    for line in ran:
        assert cli.main(line.split()[1:]) == 0, line
    assert len(ran) >= 4 and len(tree("small")) == len(tree("back")) == 3


def test_the_program_runs(photos, capfd):
    (program,) = [text for language, text in blocks(PAGE) if language == "python"]
    exec(compile(program, PAGE, "exec"), {})
    assert re.search(r"^photo\.tfcd \d+ bytes$", capfd.readouterr().out, re.MULTILINE)
    assert len(tree("small")) == 3


def test_options_of_clusters_are_beams(photos):
    """So that the page's command lines are not refused where there are clusters."""
    from apache_beam.options.pipeline_options import PipelineOptions

    clusters = [line for line in commands(PAGE) if "--runner" in line]
    assert len(clusters) == 2
    for line in clusters:
        words = line[line.index("--runner") :].split()
        options = PipelineOptions(words)
        known = options.get_all_options()
        assert options.get_all_options(retain_unknown_options=True).keys() == known.keys()

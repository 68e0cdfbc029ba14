"""The Python of README runs as it stands."""

import pathlib
import re

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]


def test_the_first_example_compresses_the_photograph(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## From Python") :]
    names = {}
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], names)
    assert names["array"].shape == (512, 768, 3) and names["array"].dtype == np.uint8
    assert float(capsys.readouterr().out) < 0.5

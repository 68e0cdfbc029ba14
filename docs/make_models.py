"""Writes docs/models.md: what `train_tf.py --list` and `--describe` tell, as tables.

python docs/make_models.py
"""

import itertools
import pathlib
import re

PAGE = pathlib.Path(__file__).with_name("models.md")

HEAD = """\
# The models

Made by `python docs/make_models.py` from what `python train_tf.py --list` and `python train_tf.py
--describe --model MODEL --preset PRESET` print; edit the models, not this page.

kMAC is thousands of multiply-accumulates for each pixel of the picture, in convolutions, dense
layers, GDN and attention. Latents are listed in coding order, as name: channels / stride, equal
slices as count x channels. Rates above 1 mean gains for a ladder of lambdas: one set of weights,
and a quality that is continuous.
"""


def page(described):
    """The page's text, of the dictionaries that `models.describe` gives, grouped by model."""
    text = HEAD
    for name in dict.fromkeys(d["model"] for d in described):
        text += f"\n## {name}\n\n{_summary(name)}\n\n"
        text += "| preset | parameters | kMAC encoder | decoder | latents | rates |\n"
        text += "|---|---|---|---|---|---|\n"
        presets = [d for d in described if d["model"] == name]
        for d in presets:
            kmac = d["kmac_per_pixel"]
            latents = ", ".join(_latents(d["latents"]))
            text += (
                f"| `{d['preset']}` | {d['parameters']:,} | {kmac['encoder']:.1f} "
                f"| {kmac['decoder']:.1f} | {latents} | {len(d['config']['lambdas'])} |\n"
            )
        text += "\nParameters by part:\n\n"
        for d in presets:
            parts = ", ".join(f"{part} {n:,}" for part, n in d["parameters_of"].items())
            text += f"- `{d['preset']}`: {parts}\n"
    return text


def _latents(parts):
    """One text for each run of equal steps."""
    for (name, channels, stride), run in itertools.groupby(
        parts, lambda part: (part["name"], part["channels"], part["stride"])
    ):
        count = len(list(run))
        times = f"{count} x " if count > 1 else ""
        yield f"{name}: {times}{channels} / {stride}"


def _summary(name):
    """The first paragraph of the model's docstring."""
    from tfcodec import models

    return re.split(r"\n\s*\n", models.module(name).__doc__)[0]


def main():
    """Describes every preset of every model and writes the page."""
    from tfcodec import models

    described = [
        models.describe(name, preset, config)
        for name in models.MODELS
        for preset, config in models.module(name).PRESETS.items()
    ]
    PAGE.write_text(page(described), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Tables and the figure of an evaluation: models beside other codecs and published curves."""

import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Callable, Sequence

from tfcodec.errors import InputError
from tfcodec.evaluation import curves
from tfcodec.evaluation.curves import Curve

EQUAL_PSNR = (28.0, 30.0, 32.0, 34.0, 36.0, 38.0)  # dB, the rows of "bpp at equal PSNR"
KODAK_PICTURES = 24


@dataclasses.dataclass(frozen=True)
class Table:
    """`head`, and rows of as many cells; the first `words` columns hold words, the others
    numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1

    def markdown(self) -> str:
        rule = ["---"] * self.words + ["---:"] * (len(self.head) - self.words)
        lines = [self.head, rule, *self.rows]
        return f"{self.title}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The `evaluation` (contents of evaluation.json) of `models`, with the curves `against`."""

    evaluation: dict
    models: list[Curve]
    against: list[Curve]

    @property
    def curves(self) -> list[Curve]:
        return [*self.models, *self.against]

    def bd_rates(self) -> list[dict]:
        """BD-rates of each model against each other curve: PSNR by both methods, and MS-SSIM.

        Returns: {"model", "against", "psnr", "psnr_cubic", "ms_ssim"}; each of the last three is
            {"percent", "overlap"} or a sentence that says why there is none.
        """
        return [
            {
                "model": model.id,
                "against": other.id,
                "psnr": _bd_rate(other.psnr, model.psnr),
                "psnr_cubic": _bd_rate(other.psnr, model.psnr, "cubic"),
                "ms_ssim": _bd_rate(other.ms_ssim, model.ms_ssim),
            }
            for model in self.models
            for other in self.curves
            if other is not model
        ]

    def tables(self) -> list[Table]:
        """What is printed, written as Markdown and shown in the report."""
        return [self._codecs(), *self._bd_rate_tables(), self._equal_psnr(), *self._points()]

    def notes(self) -> list[str]:
        """Sentences that belong below the tables."""
        machine, pictures = self.evaluation["machine"], self.evaluation["pictures"]
        count = f"{len(pictures)} picture" + "s" * (len(pictures) != 1)
        notes = [
            f"Means over {count}; sizes are those of whole files. Seconds are "
            f"medians on {machine['cores']} cores of {machine['processor']}, without start-up; "
            "peak memory is that of the whole process, encoder and decoder apart."
        ]
        if exact := self.evaluation.get("without_loss"):
            notes.append(
                f"Left out of all means, since a codec shows it without loss, at infinite PSNR: "
                f"{', '.join(exact)}."
            )
        for codec in self.evaluation["codecs"].values():
            if codec["kind"] == "pillow":
                notes.append(f"{codec['title']}: {codec['version']}.")
        for model in self.models:
            law = self.evaluation["codecs"][model.id]["laws"]
            if law:
                same = law["files"] - law["other_pixels"]
                near = law["files"] - law["far_from_estimate"]
                notes.append(
                    f"{model.name} (weights {model.source}): {same} of {law['files']} files, "
                    "decoded in another process, show exactly the encoder's reconstruction; "
                    f"{near} are within 0.5 % and 32 bytes of the model's estimate, all of them "
                    f"{law['total_excess_percent']:+.2f} %."
                )
        notes += self._missing_bd_rates()
        if any(curve.kind == "published" for curve in self.against):
            notes.append(
                "Published curves are as their sources give them, see tfcodec/data_files/"
                "kodak_rd.json; they are means over the 24 Kodak pictures."
            )
        return notes

    def _missing_bd_rates(self) -> list[str]:
        """Why there is a dash in the tables of BD-rates."""
        names = {curve.id: curve.name for curve in self.curves}
        measures = {"psnr": "PSNR", "psnr_cubic": "PSNR (cubic)", "ms_ssim": "MS-SSIM"}
        models = {}  # without one, by the other curve, the measure and the reason
        for rate in self.bd_rates():
            for key, measure in measures.items():
                if isinstance(rate[key], str):
                    why = (names[rate["against"]], measure, rate[key])
                    models.setdefault(why, []).append(names[rate["model"]])
        return [
            f"No BD-rate of {', '.join(of)} against {other} in {measure}: {reason}."
            for (other, measure, reason), of in models.items()
        ]

    def markdown(self) -> str:
        notes = "\n".join(f"- {note}" for note in self.notes())
        return "\n\n".join([*(table.markdown() for table in self.tables()), notes]) + "\n"

    def _codecs(self) -> Table:
        rows = []
        for codec in self.evaluation["codecs"].values():
            kmac = codec["kmac_per_pixel"] or dict.fromkeys(["encoder", "decoder"])
            rows.append(
                (
                    codec["title"],
                    _number(codec["parameters"], ","),
                    " / ".join(_number(kmac[side], ".1f") for side in ("encoder", "decoder")),
                    f"{codec['median_encode_seconds']:.3f} / {codec['median_decode_seconds']:.3f}",
                    f"{codec['encode_peak_mib']:.0f} / {codec['decode_peak_mib']:.0f}",
                )
            )
        head = (
            "codec",
            "parameters",
            "kMAC/pixel, encoder / decoder",
            "seconds, encode / decode",
            "peak MiB, encode / decode",
        )
        return Table("Codecs", head, tuple(rows))

    def _bd_rate_tables(self) -> list[Table]:
        head = ("against", "PSNR, %", "over, dB", "PSNR (cubic), %", "MS-SSIM, %", "over, dB")
        names = {curve.id: curve.name for curve in self.curves}
        tables = []
        for model in self.models:
            rows = [
                (
                    names[rate["against"]],
                    *_percent_and_overlap(rate["psnr"]),
                    _percent_and_overlap(rate["psnr_cubic"])[0],
                    *_percent_and_overlap(rate["ms_ssim"]),
                )
                for rate in self.bd_rates()
                if rate["model"] == model.id
            ]
            if rows:
                title = f"BD-rate of {model.name} (negative saves bits)"
                tables.append(Table(title, head, tuple(rows)))
        return tables

    def _equal_psnr(self) -> Table:
        head = ("bpp at equal PSNR", *(f"{psnr:g} dB" for psnr in EQUAL_PSNR))
        rows = []
        for curve in self.curves:
            try:
                rates = [curves.rate_at(curve.psnr, psnr) for psnr in EQUAL_PSNR]
            except ValueError:
                rates = [None] * len(EQUAL_PSNR)
            rows.append((curve.name, *(_number(rate, ".3f") for rate in rates)))
        return Table("Rate at equal PSNR", head, tuple(rows))

    def _points(self) -> list[Table]:
        head = ("quality", "bpp", "PSNR, dB", "MS-SSIM", "MS-SSIM, dB")
        tables = []
        for model in self.models:
            rows = []
            for point in self.evaluation["codecs"][model.id]["measured"]:
                similar = point["ms_ssim"]
                rows.append(
                    (
                        _number(point["quality"], "g"),
                        f"{point['bpp']:.3f}",
                        _number(point["psnr"], ".2f"),
                        _number(similar, ".4f"),
                        _number(None if similar is None else curves.msssim_db(similar), ".2f"),
                    )
                )
            tables.append(Table(f"Points of {model.name}", head, tuple(rows), words=0))
        return tables


def read(path: str | os.PathLike) -> dict:
    """The contents of an evaluation.json. Raises InputError for another file."""
    try:
        data = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        if {"codecs", "pictures", "kodak_pictures", "machine"} <= data.keys():
            return data
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, AttributeError):
        pass
    raise InputError(f"{path}: is not the evaluation.json of `tfcodec evaluate`")


def compare(
    evaluation: dict, own: list[Curve], against: Sequence[str], notice: Callable[[str], None]
) -> Comparison:
    """The models of an evaluation against the named curves.

    Args:
        own: the evaluation's curves.
        against: codecs of the evaluation, ids of published curves, or files of curves, as
            `check_names` has found them to be.
    Raises: InputError for a file that holds no curves.
    """
    measured = {curve.id: curve for curve in own}
    others = [curve for name in against for curve in _named(name, measured, evaluation, notice)]
    models = [curve for curve in own if curve.kind == "model"]
    others = [curve for curve in dict.fromkeys(others) if curve not in models]
    return Comparison(evaluation, models, others)


def check_names(names: Sequence[str], measured: Sequence[str]) -> None:
    """Raises InputError unless each name is a codec of the run, a published curve or a file."""
    for name in names:
        if name not in measured and name not in curves.published() and not os.path.isfile(name):
            known = ", ".join([*measured, *curves.published()])
            raise InputError(
                f"there is no curve {name!r}; name a file of curves, or one of {known}"
            )


def _named(name, measured, evaluation, notice) -> list[Curve]:
    if name in measured:
        return [measured[name]]
    if os.path.isfile(name):
        _check_pictures(name, evaluation)
        return curves.read(name)
    found = curves.published()[name]
    if not found.points:
        notice(f"{name}: left out, its source gives no points ({found.source})")
        return []
    pictures = evaluation["kodak_pictures"]
    if not pictures:
        notice(f"{name}: left out, it was published on Kodak and these are other pictures")
        return []
    if pictures < KODAK_PICTURES:
        notice(f"{name}: is a mean over 24 Kodak pictures, these are {pictures} of them")
    return [found]


def _check_pictures(path: str, evaluation: dict) -> None:
    """Raises InputError if a file is an evaluation of other pictures."""
    try:
        other = read(path)
    except InputError:
        return  # a file of curves, whose pictures nobody knows
    here, there = _pictures(evaluation), _pictures(other)
    if None in {*here.values(), *there.values()}:
        here, there = dict.fromkeys(here), dict.fromkeys(there)  # names must do
    if here != there:
        sides = (("only here", here, there), ("only there", there, here))
        named = [
            f"{side} {', '.join(names[:3])}" + (", ..." if len(names) > 3 else "")
            for side, a, b in sides
            if (names := [name for name in a if name not in b or a[name] != b[name]])
        ]
        raise InputError(
            f"{path}: was measured on other pictures, so its curves cannot be compared: "
            + "; ".join(named)
        )


def _pictures(evaluation: dict) -> dict[str, str | None]:
    """{name: CRC-32 of the file, None if it is not known} of an evaluation's pictures."""
    ids = {point["picture"]: point["picture_id"] for point in evaluation.get("points", [])}
    return {name: ids.get(name) for name in sorted(evaluation["pictures"])}


def _bd_rate(anchor, test, method="pchip"):
    try:
        return curves.bd_rate(anchor, test, method)._asdict()
    except ValueError as error:
        return str(error)


def _percent_and_overlap(rate) -> tuple[str, str]:
    if isinstance(rate, str):
        return "-", "-"
    low, high = rate["overlap"]
    return f"{rate['percent']:+.1f}", f"{low:.1f} - {high:.1f}"


def _number(value, form: str) -> str:
    return "n/a" if value is None else format(value, form)


# ---------------------------------------------------------------------------------- the figure

MARKERS = "osD^vP*X"


def figure(comparison: Comparison, title: str | None = None) -> bytes:
    """PNG of rate-distortion curves: PSNR and, where it is known, MS-SSIM in dB over bpp.

    Models are thick, measured codecs thin, published curves dashed. The axes show the rates that
    the models reach.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # extra `eval`; needs no display
    from matplotlib.figure import Figure

    panels = [("PSNR, dB", "psnr"), ("MS-SSIM, dB", "ms_ssim")]
    panels = [p for p in panels if any(getattr(c, p[1]) for c in comparison.models)]
    sheet = Figure(figsize=(6.4 * max(1, len(panels)), 4.8), layout="constrained")
    FigureCanvasAgg(sheet)
    for place, (label, quality) in enumerate(panels, 1):
        axes = sheet.add_subplot(1, len(panels), place)
        for k, curve in enumerate(comparison.curves):
            points = sorted(getattr(curve, quality))
            if points:
                axes.plot(*zip(*points, strict=True), **_line(k, curve))
        axes.set(xlabel="bits per pixel", ylabel=label)
        axes.grid(True, color="0.9")
        _show_the_models(axes, [getattr(curve, quality) for curve in comparison.models])
        axes.legend(loc="lower right", fontsize=8)
    if title:
        sheet.suptitle(title)
    buffer = io.BytesIO()
    sheet.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _line(k: int, curve: Curve) -> dict:
    width, style = {"model": (2.4, "-"), "pillow": (1.4, "-"), "published": (1.1, "--")}[curve.kind]
    return {
        "label": curve.name,
        "color": f"C{k % 10}",
        "linewidth": width,
        "linestyle": style,
        "marker": MARKERS[k % len(MARKERS)],
        "markersize": 5 if curve.kind == "model" else 3,
    }


def _show_the_models(axes, models: list) -> None:
    """Limits of the axes: what the models cover, with a margin; a single point keeps them free."""
    points = [point for curve in models for point in curve]
    bpps, qualities = zip(*points, strict=True)
    if max(bpps) > min(bpps):
        axes.set_xlim(0, 1.15 * max(bpps))
        room = 0.12 * (max(qualities) - min(qualities))
        axes.set_ylim(min(qualities) - 3 * room, max(qualities) + 2 * room)

"""One self-contained HTML page of an evaluation: curves, tables, and pictures to compare by eye.

Everything lies inside the page, so that it works from a file and without a network. Files that
browsers can decode (JPEG, WebP, AVIF) are embedded as they were measured. Originals, and what the
other codecs show, are stored without loss while the page stays below its limit, else as JPEG of the
best quality that keeps it there; the figures under the pictures are those of the real files always.
"""

import base64
import io
import json
import pathlib
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image

from tfcodec.evaluation.comparison import Comparison

TEMPLATE = pathlib.Path(__file__).parents[1] / "data_files" / "report.html"
MAX_BYTES = 14_000_000  # of the page

MIME = {"JPEG": "image/jpeg", "WEBP": "image/webp"}
NATIVE = {".jpg": "image/jpeg", ".webp": "image/webp", ".avif": "image/avif"}  # browsers decode
# How pictures are stored, best first: (what the page says, format, options).
LEVELS = [
    ("without loss", "WEBP", {"lossless": True, "method": 2}),
    *(
        (f"as JPEG of quality {quality}, 4:4:4", "JPEG", {"quality": quality, "subsampling": 0})
        for quality in (98, 95, 92, 88, 84, 80, 70, 60)
    ),
]


class Album:
    """Collects the pictures of a page and keeps it below its limit.

    Each picture is encoded at every level as it comes, so that no pixels need to be kept.
    """

    def __init__(self, limit: int = MAX_BYTES):
        self._limit, self._pictures = limit, []
        self._sizes = [0] * len(LEVELS)

    def add(self, name: str, original: np.ndarray, versions: Iterable[tuple]) -> None:
        """Adds a picture.

        Args:
            original: uint8 [H, W, 3].
            versions: (title, point, file, decoded): a dictionary of `evaluate.COLUMNS`, the path of
                its file and a function that gives what the file shows, uint8 [H, W, 3].
        """
        height, width, _ = original.shape
        entries = [{"title": "original", "bpp": None, "psnr": None, "ms_ssim": None}]
        sources = [self._levels(original)]
        for title, point, file, decoded in versions:
            figures = {key: point[key] for key in ("bpp", "psnr", "ms_ssim")}
            entries.append({"title": title, **figures})
            mime = NATIVE.get(pathlib.Path(file).suffix)
            if mime:
                source = _data_uri(mime, pathlib.Path(file).read_bytes())
                sources.append([source] * len(LEVELS))
            else:
                sources.append(self._levels(decoded()))
        for level in range(len(LEVELS)):
            # A level that is out of reach is not encoded any more.
            gone = any(source[level] is None for source in sources)
            size = sum(len(source[level] or "") for source in sources)
            self._sizes[level] = self._limit + 1 if gone else self._sizes[level] + size
        place = {"width": width, "height": height, "focus": busiest_place(original)}
        self._pictures.append(({"name": name, **place}, entries, sources))

    def finish(self, room: int) -> tuple[list[dict], str]:
        """(the pictures as the page holds them, how they are stored), in `room` bytes less.

        Pictures that do not fit at the last level are left out, the last ones first.
        """
        limit = self._limit - room
        level = next((k for k, size in enumerate(self._sizes) if size <= limit), len(LEVELS) - 1)
        pictures, size = [], 0
        for picture, entries, sources in self._pictures:
            size += sum(len(source[level]) for source in sources)
            if size > limit:
                break
            versions = [
                {**entry, "src": source[level]}
                for entry, source in zip(entries, sources, strict=True)
            ]
            pictures.append({**picture, "versions": versions})
        return pictures, LEVELS[level][0]

    def _levels(self, rgb: np.ndarray) -> list[str | None]:
        """Data URIs of a picture, a level each; None where the page is full already."""
        last = len(LEVELS) - 1
        return [
            _stored(rgb, kind, options)
            if self._sizes[level] <= self._limit or level == last
            else None
            for level, (_, kind, options) in enumerate(LEVELS)
        ]


def busiest_place(rgb: np.ndarray, side: int = 72) -> tuple[int, int]:
    """(x, y), centre of the square with the strongest gradients: where codecs show what they do."""
    gray = rgb.astype(np.float32).mean(axis=2)
    detail = np.abs(np.diff(gray, axis=0))[:, :-1] + np.abs(np.diff(gray, axis=1))[:-1]
    sums = np.pad(detail, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    height, width = (min(side, n - 1) for n in sums.shape)
    if not height or not width:
        return rgb.shape[1] // 2, rgb.shape[0] // 2
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width]
    boxes += sums[:-height, :-width]
    top, left = np.unravel_index(np.argmax(boxes), boxes.shape)
    return int(left) + width // 2, int(top) + height // 2


def page(
    comparison: Comparison,
    figure: bytes,
    album: Album,
    bpp: float,
    notice: Callable[[str], None],
    chosen: int,
) -> str:
    """The HTML of a report.

    Args:
        figure: PNG of the curves.
        bpp: what the files in the album were allowed.
        chosen: pictures that were added to the album.
    """
    models = ", ".join(model.name for model in comparison.models)
    count = len(comparison.evaluation["pictures"])
    content = {
        "title": f"{models}: measured on {count} pictures",
        "lead": (
            "Real files, really decoded. In the viewer every codec may spend at most "
            f"{bpp:g} bits per pixel, with the best quality that fits; a codec that cannot be so "
            "small shows its smallest file, a model of one rate the rate that it has."
        ),
        "figure": _data_uri("image/png", figure),
        "tables": [vars(table) for table in comparison.tables()],
        "notes": comparison.notes(),
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    room = len(template) + len(_json(content)) + 50_000  # names, figures and quotes of the album
    pictures, stored = album.finish(room)
    if len(pictures) < chosen:
        notice(f"the report has room for {len(pictures)} of {chosen} pictures")
    content["pictures"] = pictures
    content["stored"] = (
        f"Originals, and what browsers cannot decode themselves, are stored {stored} in this page; "
        "JPEG, WebP and AVIF are the measured files. Figures are of the real files."
    )
    return template.replace("@DATA@", _json(content))


def _json(content: dict) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(content).replace("<", "\\u003c")


def _stored(rgb: np.ndarray, kind: str, options: dict) -> str:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind, **options)
    return _data_uri(MIME[kind], buffer.getvalue())


def _data_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"

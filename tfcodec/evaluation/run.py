"""Codecs measured: real files, really decoded, and two laws checked on the way.

    pictures × codecs × qualities ─► tasks ─► Evaluation.measure ─► points.csv ─► summary ─► JSON
                                                  │    ▲
                                       worker: encode  worker: decode     (a process each)

The laws hold for the models: the decoder, a process of its own, shows exactly the pixels that the
encoder promised; and a file is within 0.5 % and 32 bytes of the model's own estimate.

A run is resumed by starting it again: points.csv is written point by point, and a point is taken
from there if picture, codec (weights, library and settings), quality and file are still the same.
"""

import contextlib
import csv
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zlib

import numpy as np

from tfcodec import metrics
from tfcodec.errors import InputError, ModelError
from tfcodec.evaluation import contenders, curves
from tfcodec.evaluation.contenders import Contender
from tfcodec.files import atomic_write

# Columns of points.csv and their types; an empty field is None.
COLUMNS = {
    "picture": str,  # file name without suffix
    "picture_id": str,  # CRC-32 of the picture's file
    "codec": str,
    "version": str,  # fingerprint of the weights; Pillow, library and settings
    "quality": float,
    "target_bytes": int,  # set for the report's files of equal size, which are on no curve
    "width": int,
    "height": int,
    "file": str,  # below the output directory
    "bytes": int,
    "bpp": float,
    "psnr": float,  # dB
    "ms_ssim": float,
    "encode_seconds": float,
    "decode_seconds": float,
    "encode_peak_mib": float,
    "decode_peak_mib": float,
    "estimated_bytes": float,
    "identical": int,  # 1 if the decoder shows what the encoder promised
}


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A picture of the run that was read without error."""

    path: str
    id: str
    width: int
    height: int
    kodak: bool

    @property
    def name(self) -> str:
        return pathlib.Path(self.path).stem


@dataclasses.dataclass(frozen=True)
class Task:
    """One file to make and measure: at a quality, or as good as `target_bytes` allow."""

    picture: Source
    codec: Contender
    quality: float | None = None
    target_bytes: int | None = None


def read_source(path: str, max_pixels: int) -> Source:
    """Reads a picture to see that it can be read. Raises InputError."""
    picture = contenders.read(path, max_pixels)
    checksum = zlib.crc32(pathlib.Path(path).read_bytes())
    kodak = curves.is_kodak(picture.rgb)
    return Source(path, f"{checksum:08x}", picture.width, picture.height, kodak)


class Evaluation:
    """A run in an output directory. Use it as a context: it ends its workers.

    Args:
        pictures, codecs: with names that differ.
        output_dir: gets points.csv and files/CODEC/PICTURE-QUALITY.SUFFIX.
    Raises: InputError if the directory cannot be used.
    """

    def __init__(
        self,
        pictures: list[Source],
        codecs: list[Contender],
        output_dir: str,
        max_pixels: int,
    ):
        self.pictures, self.codecs = pictures, codecs
        self._directory, self._max_pixels = pathlib.Path(output_dir), max_pixels
        self._journal = _Journal(self._directory)
        self._workers: dict[tuple[Contender, str], _Worker] = {}

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        self._end_workers(at_once=error is not None)

    def tasks(self) -> list[Task]:
        """Every point of every curve; a codec's together, since its processes serve them all."""
        return [
            Task(picture, codec, quality)
            for codec in self.codecs
            for quality in codec.ladder
            for picture in self.pictures
        ]

    def equal_rate_tasks(self, pictures: list[Source], bpp: float) -> list[Task]:
        """Files of at most `bpp` for the report; a model of one rate shows the rate that it has."""
        return [
            Task(picture, codec)
            if codec.ladder == (None,)
            else Task(picture, codec, None, int(bpp * picture.width * picture.height / 8))
            for codec in self.codecs
            for picture in pictures
        ]

    def known(self, task: Task) -> dict | None:
        """The point of a task that was measured already."""
        return self._journal.find(task)

    def path(self, point: dict) -> pathlib.Path:
        """The compressed file of a point."""
        return self._directory / point["file"]

    def measure(self, task: Task) -> dict:
        """The point of a task, a dictionary of `COLUMNS`; measured now if it is not known.

        Raises: TfcodecError if picture and codec do not go together, or a worker ended.
        """
        point = self.known(task)
        if point is None:
            point = self._measure(task)
            self._journal.append(point)
        return point

    def original(self, picture: Source) -> np.ndarray:
        """The picture that is compared with, uint8 [H, W, 3]."""
        return contenders.read(picture.path, self._max_pixels).rgb

    def decoded(self, task: Task) -> np.ndarray:
        """What the file of a measured task shows, uint8 [H, W, 3], decoded anew."""
        return self._decode(task, self.path(self.measure(task)))[0]

    def _measure(self, task: Task) -> dict:
        picture, codec = task.picture, task.codec
        self._end_workers(but=codec)  # a codec is measured with nothing else in memory
        file = pathlib.Path("files", _safe(codec.name), _file_name(task))
        target = self._directory / file
        target.parent.mkdir(parents=True, exist_ok=True)
        encoded = self._worker(codec, "encode").ask(
            picture=picture.path,
            max_pixels=self._max_pixels,
            quality=task.quality,
            at_most=task.target_bytes,
            output=str(target),
        )
        rgb, decoded = self._decode(task, target)
        original = self.original(picture)
        psnr = metrics.psnr(original, rgb)
        promise = encoded["shows"]
        point = {
            "picture": picture.name,
            "picture_id": picture.id,
            "codec": codec.name,
            "version": codec.version,
            "quality": encoded["quality"],
            "target_bytes": task.target_bytes,
            "width": picture.width,
            "height": picture.height,
            "file": file.as_posix(),
            "bytes": encoded["bytes"],
            "bpp": 8 * encoded["bytes"] / (picture.width * picture.height),
            "psnr": psnr if np.isfinite(psnr) else None,
            "ms_ssim": metrics.ms_ssim(original, rgb),
            "encode_seconds": encoded["seconds"],
            "decode_seconds": decoded["seconds"],
            "encode_peak_mib": encoded["peak_mib"],
            "decode_peak_mib": decoded["peak_mib"],
            "estimated_bytes": encoded["estimated_bytes"],
            "identical": promise and int(promise == contenders.pixels_checksum(rgb)),
        }
        # Of the very types that points.csv gives back.
        return {
            name: None if point[name] is None else kind(point[name])
            for name, kind in COLUMNS.items()
        }

    def _decode(self, task: Task, file: pathlib.Path) -> tuple[np.ndarray, dict]:
        with tempfile.TemporaryDirectory() as folder:
            output = os.path.join(folder, "decoded.npy")
            figures = self._worker(task.codec, "decode").ask(
                input=str(file), max_pixels=self._max_pixels, output=output
            )
            return np.load(output), figures

    def _worker(self, codec: Contender, side: str) -> "_Worker":
        key = (codec, side)
        if key not in self._workers or self._workers[key].ended:
            self._workers[key] = _Worker(side, codec)
        return self._workers[key]

    def _end_workers(self, but: Contender | None = None, at_once: bool = False) -> None:
        for key in [key for key in self._workers if key[0] is not but]:
            self._workers.pop(key).end(at_once)


def _safe(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)


def _file_name(task: Task) -> str:
    end = "" if task.quality is None else f"-q{task.quality:g}"
    end = f"-{task.target_bytes}" if task.target_bytes is not None else end
    return f"{task.picture.name}{end}{task.codec.suffix}"


class _Worker:
    """A process of `tfcodec.evaluation.worker`, asked one thing at a time."""

    def __init__(self, side: str, codec: Contender):
        self._what = f"the process to {side} with {codec.name}"
        package = pathlib.Path(__file__).parents[2]
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "tfcodec.evaluation.worker",
                side,
                codec.kind,
                codec.argument,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
            process_group=0,  # Ctrl-C in a terminal is for this process, which ends that one
        )
        self.ended = False

    def ask(self, **request) -> dict:
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.end()
            raise ModelError(f"{self._what} ended with status {self._process.returncode}")
        answer = json.loads(line)
        if "error" in answer:
            raise InputError(answer["error"])
        return answer

    def end(self, at_once: bool = False) -> None:
        self.ended = True
        if at_once:  # whatever it is at
            self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class _Journal:
    """points.csv of an output directory: what is there is known, what is measured is added."""

    def __init__(self, directory: pathlib.Path):
        self._directory, self._points = directory, {}
        self._file = directory / "points.csv"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            text = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
            sound = text[: text.rfind("\n") + 1]  # a stopped run may leave half a line
            rows = list(csv.reader(sound.splitlines()))
            if rows and rows[0] != list(COLUMNS):
                raise InputError(f"{self._file}: has other columns than this release writes")
            if sound != text or not rows:
                head = sound or ",".join(COLUMNS) + "\n"
                atomic_write(self._file, head.encode())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self._file}: cannot be used ({error})") from error
        for row in rows[1:]:
            point = _from_row(row)
            if point is not None:
                self._points[self._key(point)] = point

    @staticmethod
    def _key(point: dict) -> tuple:
        quality = None if point["target_bytes"] is not None else point["quality"]
        names = ("picture", "picture_id", "codec", "version", "target_bytes")
        return (quality, *(point[name] for name in names))

    def find(self, task: Task) -> dict | None:
        quality = None if task.target_bytes is not None else task.quality
        codec, picture = task.codec, task.picture
        key = (quality, picture.name, picture.id, codec.name, codec.version, task.target_bytes)
        point = self._points.get(key)
        if point is None:
            return None
        try:
            unchanged = (self._directory / point["file"]).stat().st_size == point["bytes"]
        except OSError:
            unchanged = False
        return point if unchanged else None

    def append(self, point: dict) -> None:
        with open(self._file, "a", encoding="utf-8", newline="") as file:
            row = ("" if point[name] is None else point[name] for name in COLUMNS)
            csv.writer(file, lineterminator="\n").writerow(row)
        self._points[self._key(point)] = point


def _from_row(row: list[str]) -> dict | None:
    try:
        return {
            name: kind(field) if field else None
            for (name, kind), field in zip(COLUMNS.items(), row, strict=True)
        }
    except ValueError:
        return None  # edited by hand, perhaps: measured again

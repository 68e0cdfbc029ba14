"""What evaluation.json holds: means, costs, and whether the laws of a run were kept."""

import contextlib
import json
import os
import pathlib
import platform
import re
import statistics
from collections.abc import Callable

from tfcodec.errors import InputError, TfcodecError
from tfcodec.evaluation.contenders import Contender
from tfcodec.evaluation.run import Evaluation

ALLOWED_SHARE, ALLOWED_BYTES = 0.005, 32  # of a file's size around the model's estimate


def mean_points(points: list[dict]) -> list[dict]:
    """Means over the pictures for each quality; MS-SSIM over those that are large enough."""
    means = []
    for quality in dict.fromkeys(point["quality"] for point in points):
        chosen = [point for point in points if point["quality"] == quality]
        values = {
            name: [point[name] for point in chosen if point[name] is not None]
            for name in ("bpp", "psnr", "ms_ssim")
        }
        if len(values["psnr"]) < len(chosen):  # one is without loss: the mean is infinite
            values["psnr"] = []
        means.append(
            {
                "quality": quality,
                **{name: statistics.mean(v) if v else None for name, v in values.items()},
            }
        )
    return means


def laws(points: list[dict]) -> dict:
    """How many of a model's points break a law, and how far files are from the estimate."""
    excess = [p["bytes"] - p["estimated_bytes"] for p in points]
    allowed = [ALLOWED_SHARE * p["estimated_bytes"] + ALLOWED_BYTES for p in points]
    return {
        "files": len(points),
        "other_pixels": sum(not p["identical"] for p in points),
        "far_from_estimate": sum(abs(e) > a for e, a in zip(excess, allowed, strict=True)),
        "total_excess_percent": 100 * sum(excess) / sum(p["estimated_bytes"] for p in points),
        "largest_excess_bytes": max(excess),
        "largest_share_of_allowed": max(abs(e) / a for e, a in zip(excess, allowed, strict=True)),
    }


def summarise(run: Evaluation, notice: Callable[[str], None]) -> dict:
    """What evaluation.json holds: the codecs with their means and costs, and all points.

    Means are over the pictures that every codec could do at every quality, and with some loss: one
    that a codec shows without any has an infinite PSNR there, and to leave it out of that mean
    alone would compare means over different pictures. If that leaves none, such levels have no
    mean PSNR. `measured` of a model is the list that its config.json holds.

    Raises: InputError if no such picture is left.
    """
    points = {task: run.known(task) for task in run.tasks()}
    failed = {task.picture.name for task, point in points.items() if point is None}
    if failed:
        notice(f"left out of all means, for want of a point: {', '.join(sorted(failed))}")
    kept = [picture for picture in run.pictures if picture.name not in failed]
    if not kept:
        raise InputError("there is no picture that every codec could do")
    exact = _without_loss(points, kept)
    if exact:
        notice(f"left out of all means, since a codec shows it without loss: {', '.join(exact)}")
    codecs = {}
    for codec in run.codecs:
        own = [p for t, p in points.items() if t.codec == codec and t.picture in kept]
        lossy = [point for point in own if point["picture"] not in exact]
        codecs[codec.name] = {
            "title": codec.title,
            "kind": codec.kind,
            "version": codec.version,
            **_cost(codec, notice),
            **{
                f"median_{way}_seconds": statistics.median(p[f"{way}_seconds"] for p in own)
                for way in ("encode", "decode")
            },
            **{
                f"{way}_peak_mib": max(p[f"{way}_peak_mib"] for p in own)
                for way in ("encode", "decode")
            },
            "laws": laws(own) if codec.kind == "model" else None,
            "measured": mean_points(lossy),
        }
    meant = [picture for picture in kept if picture.name not in exact]
    return {
        "machine": _machine(),
        "pictures": [picture.name for picture in meant],
        "left_out": sorted(failed),
        "without_loss": exact,
        "kodak_pictures": len(meant) if all(picture.kodak for picture in meant) else 0,
        "codecs": codecs,
        "points": [p for t, p in points.items() if t.picture in kept],
    }


def _without_loss(points: dict, kept: list) -> list[str]:
    """Names of the pictures that some codec shows exactly; none if all pictures are such."""
    kept_points = [point for task, point in points.items() if task.picture in kept]
    exact = {point["picture"] for point in kept_points if point["psnr"] is None}
    return sorted(exact) if len(exact) < len(kept) else []


def to_json(summary: dict) -> str:
    """The text of evaluation.json: a line for each point."""
    points = ",\n".join("  " + json.dumps(point) for point in summary["points"])
    rest = json.dumps({k: v for k, v in summary.items() if k != "points"}, indent=1)
    return rest[: -len("\n}")] + f',\n "points": [\n{points}\n ]\n}}\n'


def _cost(codec: Contender, notice: Callable[[str], None]) -> dict:
    """Parameters, and kMAC for each pixel; None for what is not known."""
    if codec.info is None:
        return {"parameters": None, "kmac_per_pixel": None}
    config = codec.info.config
    cost = {"parameters": config.get("parameters"), "kmac_per_pixel": None}
    try:
        from tfcodec import models

        fields = models.read_config(config["model"], config["config"])
        described = models.describe(config["model"], config["preset"], fields)
        cost["kmac_per_pixel"] = described["kmac_per_pixel"]
    except (TfcodecError, KeyError, TypeError) as error:
        notice(f"{codec.name}: its kMAC per pixel are not known ({error})")
    return cost


def _machine() -> dict:
    """Where the seconds were measured."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux says more
        found = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
        processor = found.group(1) if found else processor
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": processor, "cores": cores, "python": platform.python_version()}

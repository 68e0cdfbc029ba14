"""Rate and distortion of an installed model beside JPEG, WebP and AVIF, in one run.

For every picture and quality: encode, decode in a second process, and check two laws on the way:
the second process shows exactly the encoder's reconstruction, and the file is within 0.5 % and 32
bytes of the model's own estimate. Then PSNR and MS-SSIM, mean curves over the pictures, and the
BD-rate of the model against each of Pillow's codecs. Status 1 if a law is broken.

    python benchmarks/rate_distortion.py kodak/*.png --qualities 1,2,3,4,5,6,7,8 \
        --output rd.json --markdown rd.md
"""

import argparse
import io
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import PIL
from PIL import Image

from tfcodec import codec, evaluate, export, images, metrics

COMMAND = [sys.executable, str(pathlib.Path(__file__).parent.parent / "encode_decode.py")]

# Pillow's codecs, in the settings a careful user would choose, over the range that photographs use.
CLASSICS = {
    "JPEG": (
        {"optimize": True, "subsampling": "4:2:0"},
        (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95),
    ),
    "WEBP": ({"method": 6}, (0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95)),
    "AVIF": ({"speed": 6, "subsampling": "4:2:0"}, (10, 20, 30, 40, 50, 60, 70, 80, 90)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("pictures", nargs="+", metavar="IMAGE")
    parser.add_argument("--model", metavar="NAME_OR_DIR", help="default: the bundled one")
    parser.add_argument("--qualities", default="1,2,3,4,5,6,7,8", help="default: %(default)s")
    parser.add_argument("--output", metavar="FILE.json", help="every measured point")
    parser.add_argument("--markdown", metavar="FILE.md", help="the tables that are printed")
    arguments = parser.parse_args()

    info = export.find(arguments.model)
    qualities = [float(q) for q in arguments.qualities.split(",")] if info.qualities else [None]
    pictures = {pathlib.Path(path).stem: images.read(path) for path in arguments.pictures}
    if len(pictures) < len(arguments.pictures):
        parser.error("two pictures have one name")

    results = {info.name: measure_model(info, pictures, qualities)}
    Image.init()
    for name, (options, steps) in CLASSICS.items():
        if name in Image.SAVE:  # AVIF came with Pillow 11.3
            results[name] = measure_classic(name, options, pictures, steps)

    means = {name: mean_points(points) for name, points in results.items()}
    report = {
        "model": info.name,
        "fingerprint": info.fingerprint.hex(),
        "pictures": list(pictures),
        "pillow": PIL.__version__,
        "laws": laws(results[info.name]),
        "bd_rate": bd_rates(info.name, means),
        "measured": means[info.name],  # as config.json holds them
        "means": means,
        "points": results,
    }
    text = markdown(report)
    print(text)
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps(report, indent=1) + "\n")
    if arguments.markdown:
        pathlib.Path(arguments.markdown).write_text(text + "\n")
    broken = report["laws"]["other_pixels"] + report["laws"]["far_from_estimate"]
    return 1 if broken else 0


def measure_model(info: export.ModelInfo, pictures: dict, qualities: list) -> list[dict]:
    """A point for each picture and quality, decoded by the command line in another process."""
    model = codec.load(info.path)
    first = next(iter(pictures.values()))
    model.encode(first).reconstruction()  # warm: the first call builds what later ones use
    points = []
    for quality in qualities:
        progress(f"{info.name} quality {quality}")
        with tempfile.TemporaryDirectory() as folder:
            batch, shown = [], {}
            for name, picture in pictures.items():
                start = time.perf_counter()
                encoded = model.encode(picture, quality)
                seconds = time.perf_counter() - start
                pathlib.Path(folder, f"{name}.tfcd").write_bytes(encoded.data)
                shown[name] = images.to_array(encoded.reconstruction())
                point = {"picture": name, "quality": quality, "bytes": len(encoded.data)}
                point["estimated_bytes"] = encoded.estimated_bits / 8
                batch.append({**point, "encode_seconds": seconds})
            times = decode_elsewhere(folder, list(pictures))
            for point in batch:
                name = point["picture"]
                decoded = images.read(os.path.join(folder, f"{name}.png"))
                point["identical"] = np.array_equal(images.to_array(decoded), shown[name])
                point["decode_seconds"] = times[name]
                point.update(compare(pictures[name], decoded.rgb, point["bytes"]))
            points += batch
    return points


def decode_elsewhere(folder: str, names: list[str]) -> dict[str, float]:
    """Decodes NAME.tfcd to NAME.png in a process of its own; seconds as it prints them."""
    files = [os.path.join(folder, f"{name}.tfcd") for name in names]
    done = subprocess.run([*COMMAND, "decode", *files], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"decoding failed with status {done.returncode}")
    seconds = [float(line.rsplit(maxsplit=2)[1]) for line in done.stdout.splitlines()]
    return dict(zip(names, seconds, strict=True))


def measure_classic(kind: str, options: dict, pictures: dict, qualities) -> list[dict]:
    """The same points for one of Pillow's codecs."""
    points = []
    for quality in qualities:
        progress(f"{kind} quality {quality}")
        for name, picture in pictures.items():
            buffer = io.BytesIO()
            start = time.perf_counter()
            Image.fromarray(picture.rgb).save(buffer, kind, quality=quality, **options)
            middle = time.perf_counter()
            with Image.open(buffer) as image:
                rgb = np.asarray(image.convert("RGB"))
            end = time.perf_counter()
            size = len(buffer.getvalue())
            point = {"picture": name, "quality": quality, "bytes": size}
            times = {"encode_seconds": middle - start, "decode_seconds": end - middle}
            points.append({**point, **times, **compare(picture, rgb, size)})
    return points


def compare(picture: images.Picture, rgb: np.ndarray, size: int) -> dict:
    return {
        "bpp": 8 * size / (picture.height * picture.width),
        "psnr": metrics.psnr(picture.rgb, rgb),
        "ms_ssim": metrics.ms_ssim(picture.rgb, rgb),
    }


def mean_points(points: list[dict]) -> list[dict]:
    """Means over the pictures for each quality; MS-SSIM over those that are large enough."""
    means = []
    for quality in dict.fromkeys(point["quality"] for point in points):
        chosen = [point for point in points if point["quality"] == quality]
        similar = [p["ms_ssim"] for p in chosen if p["ms_ssim"] is not None]
        [(bpp, psnr)] = evaluate.mean_curve([[(p["bpp"], p["psnr"])] for p in chosen])
        ms_ssim = statistics.mean(similar) if similar else None
        means.append({"quality": quality, "bpp": bpp, "psnr": psnr, "ms_ssim": ms_ssim})
    return means


def laws(points: list[dict]) -> dict:
    """How many points break a law, and how far files are from the model's estimate."""
    excess = [p["bytes"] - p["estimated_bytes"] for p in points]
    allowed = [0.005 * p["estimated_bytes"] + 32 for p in points]
    total = sum(p["estimated_bytes"] for p in points)
    return {
        "files": len(points),
        "other_pixels": sum(not p["identical"] for p in points),
        "far_from_estimate": sum(abs(e) > a for e, a in zip(excess, allowed, strict=True)),
        "total_excess_percent": 100 * sum(excess) / total,
        "largest_excess_bytes": max(excess),
        "largest_share_of_allowed": max(abs(e) / a for e, a in zip(excess, allowed, strict=True)),
    }


def bd_rates(model: str, means: dict) -> dict:
    """Of the model against each other codec; a sentence instead where the curves do not meet."""
    curves = {name: [(p["bpp"], p["psnr"]) for p in points] for name, points in means.items()}
    rates = {}
    for name in curves:
        if name != model:
            try:
                rates[name] = evaluate.bd_rate(curves[name], curves[model])._asdict()
            except ValueError as error:
                rates[name] = str(error)
    return rates


def markdown(report: dict) -> str:
    model, law = report["model"], report["laws"]
    own = report["points"][model]
    lines = [f"{model}, mean of {len(report['pictures'])} pictures:", ""]
    for name, points in report["means"].items():
        lines += [f"| {name} quality | bpp | PSNR, dB | MS-SSIM |", "| ---: | ---: | ---: | ---: |"]
        for p in points:
            quality = "-" if p["quality"] is None else f"{p['quality']:g}"
            ms_ssim = "-" if p["ms_ssim"] is None else f"{p['ms_ssim']:.4f}"
            lines.append(f"| {quality} | {p['bpp']:.3f} | {p['psnr']:.2f} | {ms_ssim} |")
        lines.append("")
    lines += [
        f"| BD-rate (PSNR) of {model} against | percent | over, dB |",
        "| --- | ---: | ---: |",
    ]
    for name, rate in report["bd_rate"].items():
        if isinstance(rate, str):
            lines.append(f"| {name} | - | {rate} |")
        else:
            low, high = rate["overlap"]
            lines.append(f"| {name} | {rate['percent']:+.1f} | {low:.1f} - {high:.1f} |")
    encode, decode = (
        statistics.median(p[f"{way}_seconds"] for p in own) for way in ("encode", "decode")
    )
    return "\n".join(
        [
            *lines,
            "",
            f"- Decoded in a second process: {law['files'] - law['other_pixels']} of "
            f"{law['files']} files show exactly the encoder's reconstruction.",
            f"- File size within 0.5 % + 32 bytes of the model's estimate: "
            f"{law['files'] - law['far_from_estimate']} of {law['files']}; in all "
            f"{law['total_excess_percent']:+.2f} %, at most {law['largest_excess_bytes']:+.0f} "
            "bytes.",
            f"- Median time a picture: encode {encode:.2f} s, decode {decode:.2f} s.",
        ]
    )


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

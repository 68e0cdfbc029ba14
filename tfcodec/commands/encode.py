"""Pictures to .tfcd files: `tfcodec encode kodim23.png -o k.tfcd --quality 4`."""

import argparse
import math
import time

from tfcodec import metrics, pictures
from tfcodec.coding.format import (
    CODER_NAMES,
    TFC,
)
from tfcodec.commands.arguments import (
    add_command,
    add_files,
    parse_positive,
    parse_quality,
    plan,
    ready,
)
from tfcodec.commands.console import Console, Job, load_codec, result_line
from tfcodec.errors import InputError, TfcodecError
from tfcodec.exports import installed
from tfcodec.files import atomic_write


def add(commands) -> None:
    parser = add_command(commands, "encode", run, "Compress pictures to .tfcd files.")
    add_files(parser, "pictures: PNG, JPEG, WebP, TIFF, BMP ...", "STEM.tfcd")
    parser.add_argument(
        "--model",
        metavar="NAME_OR_DIR",
        help="installed model, alias or export, see `models` (default: the bundled one)",
    )
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--quality",
        type=parse_quality,
        metavar="Q",
        help="1 (smallest) to 8 (best), fractions allowed (default: the model's, see `models`)",
    )
    rate.add_argument(
        "--bpp",
        type=parse_positive(float),
        metavar="B",
        help="best quality of at most B bits per pixel",
    )
    rate.add_argument(
        "--target_bytes",
        type=parse_positive(int),
        metavar="N",
        help="best quality of at most N bytes",
    )
    parser.add_argument(
        "--coder",
        choices=CODER_NAMES,
        default=CODER_NAMES[TFC],
        help="entropy coder (default: %(default)s)",
    )
    parser.add_argument(
        "--profile",
        choices=("compact", "serving"),
        default="compact",
        help="smallest file, or one that TF Serving decodes fast, some 0.3 %% larger "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--keep_metadata",
        action="store_true",
        help="carry EXIF and XMP; `decode` writes them into PNG, JPEG, WebP and TIFF",
    )
    parser.add_argument(
        "--reconstruction", metavar="FILE", help="also write what the decoder will show (one input)"
    )
    parser.add_argument(
        "--check", action="store_true", help="also print PSNR and MS-SSIM of what will be shown"
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.reconstruction is not None and len(arguments.inputs) > 1:
        arguments.parser.error(
            f"--reconstruction takes one input, received {len(arguments.inputs)}"
        )
    if arguments.profile == "serving" and arguments.coder != CODER_NAMES[TFC]:
        arguments.parser.error("--profile serving needs the coder tfc")
    jobs = plan(arguments, ".tfcd", lambda source, out: Job(source, out, arguments.reconstruction))
    console = Console(len(jobs))
    try:
        info = installed.find(arguments.model)
        for flag in ("quality", "bpp", "target_bytes"):
            if info.qualities is None and getattr(arguments, flag) is not None:
                raise InputError(f"the model {info.name} has one rate; it takes no --{flag}")
    except TfcodecError as error:
        console.failure(error)
        return 1

    def work(job: Job) -> str:
        picture = pictures.read(job.source, arguments.max_pixels)
        for notice in picture.notices:
            console.notice(f"{job.source}: {notice}")
        if lost := pictures.lost_metadata(picture.metadata, keep=arguments.keep_metadata):
            console.notice(f"{job.source}: {lost}")
        if job.picture is not None:
            pictures.check_format(job.picture, alpha=picture.alpha is not None)
        model = load_codec(info)
        start, most = time.perf_counter(), _most_bytes(picture, arguments)
        encoded = model.encode(
            picture,
            arguments.quality,
            most,
            coder=arguments.coder,
            lanes="serving" if arguments.profile == "serving" else 1,
            progress=console.tile,
            keep_metadata=arguments.keep_metadata,
        )
        seconds = time.perf_counter() - start
        if beyond := _beyond(encoded, info, most):
            console.notice(f"{job.source}: {beyond}")
        line = result_line(job.source, picture, len(encoded.data), seconds)
        if job.picture is not None or arguments.check:
            shown = encoded.reconstruction(console.tile)
            if arguments.check:
                line += _distortion(picture, shown)
            if job.picture is not None and (lost := pictures.write(job.picture, shown)):
                console.notice(f"{job.picture}: {lost}")
        atomic_write(job.file, encoded.data)
        return line

    return console.for_each(ready(jobs, arguments, console), work)


def _most_bytes(picture: pictures.Picture, arguments: argparse.Namespace) -> int | None:
    """The size that was asked for, if any."""
    if arguments.bpp is not None:
        return math.floor(arguments.bpp * picture.height * picture.width / 8)
    return arguments.target_bytes


def _beyond(encoded, info: installed.ModelInfo, most: int | None) -> str | None:
    """What to say of a wish for more than the model can give, if it is one."""
    size, best = len(encoded.data), encoded.rung >= info.ladder.rungs - 1
    if most is None or not best or size > 0.97 * most:  # a step of quality is some 1 % of the size
        return None
    return f"{info.name} goes to quality {info.ladder.high:g}: {size} of at most {most} bytes"


def _distortion(original: pictures.Picture, shown: pictures.Picture) -> str:
    similarity = metrics.ms_ssim(original.rgb, shown.rgb)
    figures = f"  {metrics.psnr(original.rgb, shown.rgb):.2f} dB PSNR"
    return figures + ("" if similarity is None else f"  {similarity:.4f} MS-SSIM")

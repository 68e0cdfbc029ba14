"""Pictures to .tfcd files: `tfcodec encode kodim23.png -o k.tfcd --quality 4`."""

import argparse
import os
import time

from tfcodec import metrics, pictures
from tfcodec.coding.format import (
    CODER_NAMES,
    MAGIC,
    TFC,
)
from tfcodec.commands import streams
from tfcodec.commands.arguments import (
    Commands,
    add_command,
    add_files,
    parse_positive,
    parse_quality,
)
from tfcodec.commands.console import Console, Job, load_codec, result_line
from tfcodec.commands.jobs import Kind, plan, ready
from tfcodec.errors import InputError, TfcodecError
from tfcodec.exports import installed
from tfcodec.files import atomic_write, unreadable_named
from tfcodec.naming import SUFFIX, compressed_name
from tfcodec.quality import bytes_of_bpp

MOST_BYTES_PER_PIXEL, MOST_BYTES_BESIDE = 8, 2**26  # of a picture from stdin; 8 are 16-bit RGBA


def add(commands: Commands) -> None:
    parser = add_command(commands, "encode", run, "Compress pictures to .tfcd files.")
    add_files(parser, "pictures: PNG, JPEG, WebP, TIFF, BMP ...", "STEM.tfcd")
    add_rate(parser)
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


def add_rate(parser: argparse.ArgumentParser) -> None:
    """The flags of a model and of the one wish that a file is made to."""
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
    rate.add_argument(
        "--psnr",
        type=parse_positive(float),
        metavar="DB",
        help="smallest quality of at least DB dB PSNR, over pixels that are not wholly transparent",
    )


def run(arguments: argparse.Namespace) -> int:
    _check_flags(arguments)
    console = Console(verbose=arguments.verbose)
    jobs = plan(
        arguments, KIND, lambda source, out: Job(source, out, arguments.reconstruction), console
    )
    try:
        info = installed.find(arguments.model)
        for flag in ("quality", "bpp", "target_bytes", "psnr"):
            if info.qualities is None and getattr(arguments, flag) is not None:
                raise InputError(f"the model {info.name} has one rate; it takes no --{flag}")
    except TfcodecError as error:
        console.failure(error)
        return 1

    tries = (arguments.bpp, arguments.target_bytes, arguments.psnr)  # take several encodes
    once = len(jobs) == 1 and all(wish is None for wish in tries)

    def work(job: Job) -> str:
        picture = _read(job, arguments.max_pixels)
        for notice in picture.notices:
            console.notice(f"{job.name}: {notice}")
        if lost := pictures.lost_metadata(picture.metadata, keep=arguments.keep_metadata):
            console.notice(f"{job.name}: {lost}")
        if job.picture is not None:
            pictures.check_format(job.picture, alpha=picture.alpha is not None)
        model = load_codec(info, console, once=once)
        start, most = time.perf_counter(), _most_bytes(picture, arguments)
        encoded = model.encode(
            picture,
            arguments.quality,
            most,
            psnr=arguments.psnr,
            coder=arguments.coder,
            lanes="serving" if arguments.profile == "serving" else 1,
            progress=console.tile,
            keep_metadata=arguments.keep_metadata,
        )
        seconds = time.perf_counter() - start
        if beyond := _beyond(encoded, info, most) or _below(encoded, info, arguments.psnr):
            console.notice(f"{job.name}: {beyond}")
        line = result_line(job.name, picture, len(encoded.data), seconds)
        if job.picture is not None or arguments.check:
            shown = encoded.reconstruction(console.tile)
            if arguments.check:
                line += _distortion(job, picture, shown, console)
            if job.picture is not None:
                pictures.write(job.picture, shown)
                if lost := pictures.lost_in_file(job.picture, shown):
                    console.notice(f"{job.picture}: {lost}")
        if job.to_stdout:
            streams.write(encoded.data)
        else:
            atomic_write(job.file, encoded.data)
        return line

    return console.for_each(ready(jobs, arguments, KIND, console), work)


def _check_flags(arguments: argparse.Namespace) -> None:
    """Ends the process with status 2 if flags do not go together."""
    refuse, output = arguments.parser.error, arguments.output
    if arguments.reconstruction is not None:
        if len(arguments.inputs) > 1:
            refuse(f"--reconstruction takes one input, received {len(arguments.inputs)}")
        if os.path.isdir(arguments.inputs[0]):
            refuse(f"--reconstruction takes one input, {arguments.inputs[0]} is a folder")
        if arguments.reconstruction == streams.STANDARD:
            refuse("--reconstruction names a file, received -")
    if arguments.profile == "serving" and arguments.coder != CODER_NAMES[TFC]:
        refuse("--profile serving needs the coder tfc")
    # A file that cannot be what its name says would be found out much later.
    if output is not None and output.lower().endswith(pictures.SUFFIXES):
        refuse(f"-o names a .tfcd file, received {output}; --reconstruction writes a picture")


def _made(path: str) -> bool:
    """Whether this begins as a .tfcd file does, or is empty."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) in (MAGIC, b"")
    except OSError:
        return False


KIND = Kind("pictures", pictures.SUFFIXES, compressed_name, _made, own=SUFFIX)


def _read(job: Job, max_pixels: int) -> pictures.Picture:
    if job.source != streams.STANDARD:
        return pictures.read(job.source, max_pixels)
    limit = MOST_BYTES_PER_PIXEL * max_pixels + MOST_BYTES_BESIDE
    with unreadable_named(job.name, "picture"), streams.reading(job.source) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{job.name}: is larger than any picture of {max_pixels} pixels")
    return pictures.read_bytes(data, job.name, max_pixels)


def _most_bytes(picture: pictures.Picture, arguments: argparse.Namespace) -> int | None:
    """The size that was asked for, if any."""
    if arguments.bpp is not None:
        return bytes_of_bpp(arguments.bpp, picture.height, picture.width)
    return arguments.target_bytes


def _beyond(encoded, info: installed.ModelInfo, most: int | None) -> str | None:
    """What to say of a wish for more than the model can give, if it is one."""
    size, best = len(encoded.data), encoded.rung >= info.ladder.rungs - 1
    if most is None or not best or size > 0.97 * most:  # a step of quality is some 1 % of the size
        return None
    return f"{info.name} goes to quality {info.ladder.high:g}: {size} of at most {most} bytes"


def _below(encoded, info: installed.ModelInfo, psnr: float | None) -> str | None:
    """What to say of a wish for less than the model's lowest quality gives, if it is one."""
    if psnr is None or encoded.rung > 0 or (least := encoded.psnr()) < psnr + 0.5:
        return None  # a step of quality is some 0.05 dB
    return f"{info.name} starts at quality {info.ladder.low:g}: {least:.2f} of {psnr:g} dB"


def _distortion(
    job: Job, original: pictures.Picture, shown: pictures.Picture, console: Console
) -> str:
    figures = f"  {metrics.psnr(original.rgb, shown.rgb, original.alpha):.2f} dB PSNR"
    similarity = metrics.ms_ssim(original.rgb, shown.rgb, console.distortion)
    if similarity is not None:
        return f"{figures}  {similarity:.4f} MS-SSIM"
    least = metrics.MS_SSIM_MIN_SIDE
    console.notice(f"{job.name}: MS-SSIM needs {least} pixels a side and is left out")
    return figures

"""What files say and which models there are: `tfcodec info`, `tfcodec models`.

Neither decodes nor loads anything, and TensorFlow is not imported.
"""

import argparse
import pathlib

from tfcodec import pictures
from tfcodec.coding import container, range_coder
from tfcodec.coding.format import (
    CODER_NAMES,
    DEFAULT_MAX_PIXELS,
)
from tfcodec.commands.arguments import Commands, add_command
from tfcodec.commands.console import Console, Job, shown
from tfcodec.commands.decode import read_file
from tfcodec.errors import ModelError
from tfcodec.exports import installed
from tfcodec.quality import of_byte


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "info", show, "Show what .tfcd files say, without loading a model."
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help=".tfcd files, - for stdin")

    add_command(
        commands, "models", list_models, "List the installed models and the range coder's body."
    )


def show(arguments: argparse.Namespace) -> int:
    def work(job: Job) -> str:
        data = read_file(job.source, DEFAULT_MAX_PIXELS)
        # Nothing is decoded here, so that a picture of any size may be looked at.
        packed = container.unpack(data, job.name, max_pixels=2**70)
        try:
            info = installed.find_fingerprint(packed.fingerprint, job.name)
            model, single = f"{info.name} (installed)", info.qualities is None
        except ModelError:
            model, single = "not installed here", False
        channels = ("gray" if packed.gray else "RGB") + (" with alpha" if packed.alpha else "")
        parts = ", ".join(f"{n} {part}" for part, n in container.part_sizes(data).items())
        lanes = len(packed.streams)
        fields = {
            "picture": f"{packed.width}x{packed.height}, {channels}",
            "size": f"{len(data)} bytes, {8 * len(data) / (packed.width * packed.height):.3f} bpp",
            "bytes": parts,
            "quality": "one rate" if single else f"{of_byte(packed.quality):g}",
            "model": f"fingerprint {packed.fingerprint.hex()}, {model}",
            "profile": f"{packed.profile}",
            "coder": CODER_NAMES[packed.coder] + (f", {lanes} lanes" * (lanes > 1)),
        }
        if packed.metadata is not None:
            metadata = pictures.metadata_from_bytes(packed.metadata, job.name)
            fields["keeps"] = metadata.sizes()
        return "\n".join([shown(job.name), *(f"  {key:8}{text}" for key, text in fields.items())])

    console = Console(files=1, reports=True)  # too quick for a bar
    return console.for_each([Job(source) for source in arguments.inputs], work)


def list_models(arguments: argparse.Namespace) -> int:
    console = Console(files=1, reports=True)
    try:
        models = installed.models()
        default = installed.find().name if models else None
    except ModelError as error:
        console.failure(error)
        return 1
    if missing := installed.missing_folders():
        console.notice(missing)
    if not models:
        console.notice("no models are installed")
    for info in models:
        console.result("\n".join(_described(info, info.name == default)))
    console.result(f"range coder: {range_coder.describe()}")
    return console.status


def _described(info: installed.ModelInfo, default: bool) -> list[str]:
    """A line of the model, and one of each point that was measured."""
    config = info.config
    size = sum(f.stat().st_size for f in pathlib.Path(info.path).rglob("*") if f.is_file())
    quality = "one rate"
    if info.qualities is not None:
        low, high = info.qualities
        quality = f"quality {low:g} - {high:g}, default {config['default_quality']:g}"
    called = [*["default"] * default, *info.aliases]
    fields = (
        info.name + (f" ({', '.join(called)})" if called else ""),
        quality,
        f"{size / 2**20:.1f} MiB",
        f"fingerprint {info.fingerprint.hex()}",
        f"portable: {'yes' if config.get('portable') else 'no'}",
    )
    return [
        "  ".join(fields),
        *(
            f"  quality {point['quality']:g}  {point['bpp']:.3f} bpp  {point['psnr']:.2f} dB PSNR"
            f"  {point['ms_ssim']:.4f} MS-SSIM"
            for point in config.get("measured", [])
        ),
    ]

"""The command `tfcodec`: encode, decode, info, models, evaluate, compare, convert, freeze, export.

    tfcodec encode kodim23.png -o k.tfcd --quality 4
    tfcodec decode k.tfcd -o k.png

One line a file on stdout; notices, failures (one sentence each) and progress on stderr. A failed
file does not stop the others. Exit status: 0, or 1 if a file failed, 2 for a wrong command line,
130 when interrupted. Output files appear complete or not at all.

`info`, `models` and `compare` never import TensorFlow, `encode` and `decode` only once a file has
proved to be sound. `evaluate` and `compare` live in cli_evaluate.py.
"""

import argparse
import dataclasses
import importlib
import math
import os
import pathlib
import shutil
import signal
import sys
import time
from collections.abc import Callable

from tfcodec import export, images, metrics, quiet, search
from tfcodec.coding import container, range_coder
from tfcodec.errors import ContainerError, InputError, ModelError, TfcodecError
from tfcodec.layers import integer

QUALITIES = (1.0, 8.0)
PATIENCE = 2  # seconds until the progress within a picture is shown


def run() -> None:
    """The console entry: `main` as a process, well-behaved towards pipes and signals."""
    sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid UTF-8
    # As an exception, so that unfinished files are cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # such as `tfcodec models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + signal.SIGPIPE
    sys.exit(status)


def main(argv: list[str] | None = None) -> int:
    """Runs one command line (default: that of this process); returns the exit status."""
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
        return arguments.command(arguments)
    except SystemExit as stop:  # argparse has printed the help or what is wrong
        return stop.code or 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tfcodec", description="A learned image codec.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"tfcodec {_version()}")
    commands = parser.add_subparsers(required=True, metavar="encode | decode | ...")

    def command(name: str, function: Callable, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(command=function, parser=sub)
        return sub

    encode = command("encode", _encode, "Compress pictures to .tfcd files.")
    _add_files(encode, "pictures: PNG, JPEG, WebP, TIFF, BMP ...", "STEM.tfcd")
    encode.add_argument(
        "--model",
        metavar="NAME_OR_DIR",
        help="installed model or export (default: the bundled one)",
    )
    rate = encode.add_mutually_exclusive_group()
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
    encode.add_argument(
        "--coder",
        choices=container.CODER_NAMES,
        default=container.CODER_NAMES[container.TFC],
        help="entropy coder (default: %(default)s)",
    )
    encode.add_argument(
        "--profile",
        choices=("compact", "serving"),
        default="compact",
        help="smallest file, or one that TF Serving decodes fast, some 0.3 %% larger "
        "(default: %(default)s)",
    )
    encode.add_argument(
        "--reconstruction", metavar="FILE", help="also write what the decoder will show (one input)"
    )
    encode.add_argument(
        "--check", action="store_true", help="also print PSNR and MS-SSIM of what will be shown"
    )

    decode = command("decode", _decode, "Decompress .tfcd files to pictures.")
    _add_files(decode, ".tfcd files", "STEM.png; with -o the suffix chooses the format")

    info = command("info", _info, "Show what .tfcd files say, without loading a model.")
    info.add_argument("inputs", nargs="+", metavar="IN", help=".tfcd files")

    command("models", _models, "List the installed models, and say which body of the coder runs.")

    serve = command("export", _export, "Write a model for TF Serving, see docs/serving.md.")
    serve.add_argument("model", metavar="MODEL", help="installed model or folder of an export")
    serve.add_argument("-o", "--output", metavar="DIR", required=True, help="new folder")
    serve.add_argument(
        "--max_pixels",
        type=parse_positive(int),
        default=2**23,
        metavar="N",
        help="the server refuses larger pictures (default: %(default)s)",
    )
    serve.add_argument(
        "--max_turns",
        type=parse_positive(int),
        default=2**19,
        metavar="N",
        help="the server refuses files of more symbols a lane, which take it about 20 microseconds "
        "each (default: %(default)s)",
    )
    serve.add_argument(
        "--xla",
        action="store_true",
        help="compile the coder by XLA; for servers that run with --xla_cpu_compilation_enabled",
    )
    freeze = command(
        "freeze",
        _freeze,
        "Make a model portable: its files decode alike everywhere, docs/portable.md.",
    )
    freeze.add_argument("model", metavar="MODEL", help="installed model or folder of an export")
    freeze.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="folder of the new export; replaced"
    )
    freeze.add_argument(
        "--calibrate",
        nargs="+",
        required=True,
        metavar="IMAGE",
        help="some ten photographs, from which the ranges of all channels are taken",
    )
    freeze.add_argument(
        "--profile",
        choices=tuple(integer.PROFILES),
        default="exact-10",
        help="bits of weights and activations (default: %(default)s)",
    )
    add_max_pixels(freeze)
    convert = command(
        "convert", _convert, "Make a model of a checkpoint that a paper's authors published."
    )
    convert.add_argument("checkpoint", metavar="CHECKPOINT", help="file that torch.save wrote")
    convert.add_argument(
        "--from",
        dest="source",
        required=True,
        choices=("weconvene", "tcm", "icwem"),
        help="whose code it is of: WeConvene (ECCV 2024), LIC-TCM (CVPR 2023) or ICWEM",
    )
    convert.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder of the export; replaced"
    )
    convert.add_argument(
        "--lambda",
        dest="lmbda",
        type=parse_positive(float),
        default=0.013,
        metavar="L",
        help="Lagrangian weight it was trained for, for the record (default: %(default)s)",
    )
    convert.add_argument(
        "--weights",
        choices=export.WEIGHTS,
        default="float32",
        help="how weights are stored: exactly, in half the bytes, or the largest kernels in a "
        "quarter (default: %(default)s)",
    )
    convert.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="in which the transforms compute; bfloat16 is faster where the processor has it "
        "(default: %(default)s)",
    )
    from tfcodec import cli_evaluate  # here, since it builds on this module

    cli_evaluate.add_commands(command)
    return parser


def _version() -> str:
    return (pathlib.Path(__file__).parent / "version.txt").read_text().strip()


def _add_files(parser: argparse.ArgumentParser, inputs: str, output: str) -> None:
    parser.add_argument("inputs", nargs="+", metavar="IN", help=inputs)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", metavar="OUT", help=f"output file (default: {output})")
    where.add_argument(
        "--output_dir", metavar="DIR", help="directory of the outputs (default: beside each input)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    add_max_pixels(parser)


def add_max_pixels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max_pixels",
        type=parse_positive(int),
        default=container.DEFAULT_MAX_PIXELS,
        metavar="N",
        help="refuse larger pictures (default: %(default)s)",
    )


def parse_quality(text: str) -> float:
    low, high = QUALITIES
    value = _number(float, text)
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(
            f"must be from {low:g} (smallest file) to {high:g} (best), received {text}"
        )
    return value


def parse_positive(kind: type) -> Callable[[str], float]:
    def parse(text: str):
        value = _number(kind, text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"must be more than 0, received {text}")
        return value

    return parse


def _number(kind: type, text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"must be {noun}, received {text!r}") from None


@dataclasses.dataclass(frozen=True)
class Job:
    """One input and its outputs: a .tfcd file, a picture, or both."""

    source: str
    file: str | None = None
    picture: str | None = None

    @property
    def outputs(self) -> list[str]:
        return [path for path in (self.file, self.picture) if path is not None]


class Console:
    """Result lines on stdout; everything else on stderr, with a bar if a person looks on: of files
    done if there are several, of tiles done in a picture that takes long."""

    def __init__(self, files: int):
        self.failures = 0
        self.expect(files)

    def expect(self, files: int) -> None:
        """Starts the bar anew."""
        self._files, self._done = files, 0
        self._seen, self._started, self._name = sys.stderr.isatty(), time.monotonic(), ""
        self._bar = self._seen and files > 1

    def result(self, line: str) -> None:
        self._clear()
        print(line, flush=True)

    def notice(self, sentence: str) -> None:
        self._clear()
        print("tfcodec:", " ".join(sentence.splitlines()), file=sys.stderr, flush=True)

    def failure(self, error: TfcodecError, job: Job | None = None) -> None:
        """Counts and prints; a sentence that names no file of the job gets its input in front."""
        self.failures += 1
        sentence = str(error)
        if job and not sentence.startswith(tuple(f"{p}: " for p in (job.source, *job.outputs))):
            sentence = f"{job.source}: {sentence}"
        self.notice(sentence)

    def for_each(self, jobs: list[Job], work: Callable[[Job], str | None]) -> int:
        """Prints what `work` says of each job, or why it failed; returns the exit status."""
        try:
            for job in jobs:
                self._name, self._started = job.source, time.monotonic()
                self._draw(self._done, self._files, job.source)
                try:
                    line = work(job)
                    if line is not None:
                        self.result(line)
                except TfcodecError as error:
                    self.failure(error, job)
                self._done += 1
        finally:
            self._clear()
        return 1 if self.failures else 0

    def tile(self, done: int, count: int) -> None:
        """For `codec.Codec.on_tile`: a bar of tiles once the file has taken a while."""
        if self._seen and time.monotonic() - self._started > PATIENCE:
            self._bar = True
            self._draw(done, count, f"tiles  {self._name}")

    def _draw(self, done: int, count: int, name: str) -> None:
        if self._bar:
            filled = 24 * done // count
            line = f"[{'#' * filled:.<24}] {done}/{count}  {name}"
            self._clear()  # the last line may have been longer
            sys.stderr.write("\r" + line[: shutil.get_terminal_size().columns - 1])
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._bar:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _plan(arguments: argparse.Namespace, suffix: str, job: Callable[[str, str], Job]) -> list[Job]:
    """The jobs of a command line; one that cannot be meant so ends here, with status 2.

    Args:
        suffix: of outputs that are not named.
        job: makes one from the paths of its input and output.
    """
    refuse = arguments.parser.error
    if arguments.output is not None and len(arguments.inputs) > 1:
        refuse(f"-o takes one input, received {len(arguments.inputs)}; use --output_dir")
    jobs = []
    for source in arguments.inputs:
        folder, name = os.path.split(source)
        folder = folder if arguments.output_dir is None else arguments.output_dir
        target = os.path.join(folder, os.path.splitext(name)[0] + suffix)
        jobs.append(job(source, arguments.output or target))
    taken = {os.path.realpath(source): "is an input" for source in arguments.inputs}
    for each in jobs:
        for output in each.outputs:
            path = os.path.realpath(output)
            if path in taken:
                refuse(f"{output}, an output of {each.source}, {taken[path]}, too")
            taken[path] = f"is an output of {each.source}"
    return jobs


def _ready(jobs: list[Job], arguments: argparse.Namespace, console: Console) -> list[Job]:
    """The jobs whose outputs can be written; the others fail now, before any work."""
    if arguments.output_dir is not None:
        try:
            os.makedirs(arguments.output_dir, exist_ok=True)
        except OSError as error:
            reason = f"is not a directory that can be used ({error.strerror})"
            console.failure(InputError(f"{arguments.output_dir}: {reason}"))
            return []
    ready = []
    for job in jobs:
        try:
            for output in job.outputs:
                images.check_target(output)
                if os.path.exists(output) and not arguments.overwrite:
                    raise InputError(f"{output}: exists already; --overwrite replaces it")
            if job.picture is not None:
                images.check_format(job.picture, alpha=False)
        except InputError as error:
            console.failure(error, job)
        else:
            ready.append(job)
    return ready


def _encode(arguments: argparse.Namespace) -> int:
    if arguments.reconstruction is not None and len(arguments.inputs) > 1:
        arguments.parser.error(
            f"--reconstruction takes one input, received {len(arguments.inputs)}"
        )
    if arguments.profile == "serving" and arguments.coder != container.CODER_NAMES[container.TFC]:
        arguments.parser.error("--profile serving needs the coder tfc")
    jobs = _plan(arguments, ".tfcd", lambda source, out: Job(source, out, arguments.reconstruction))
    console = Console(len(jobs))
    try:
        info = export.find(arguments.model)
        for flag in ("quality", "bpp", "target_bytes"):
            if info.qualities is None and getattr(arguments, flag) is not None:
                raise InputError(f"the model {info.name} has one rate; it takes no --{flag}")
    except TfcodecError as error:
        console.failure(error)
        return 1

    def work(job: Job) -> str:
        picture = images.read(job.source, arguments.max_pixels)
        for notice in picture.notices:
            console.notice(f"{job.source}: {notice}")
        if job.picture is not None:
            images.check_format(job.picture, alpha=picture.alpha is not None)
        model = _codec().load(info.path)
        model.on_tile = console.tile
        start = time.perf_counter()
        encoded = _encode_to_rate(model, picture, arguments)
        seconds = time.perf_counter() - start
        line = _line(job.source, picture, len(encoded.data), seconds)
        if job.picture is not None or arguments.check:
            shown = encoded.reconstruction()
            if arguments.check:
                line += _quality_figures(picture, shown)
            if job.picture is not None:
                images.write(job.picture, shown)
        images.atomic_write(job.file, encoded.data)
        return line

    return console.for_each(_ready(jobs, arguments, console), work)


def _encode_to_rate(model, picture: images.Picture, arguments: argparse.Namespace):
    """The `Encoded` picture at the quality, or of the size, that was asked for."""
    if arguments.bpp is not None:
        limit = math.floor(arguments.bpp * picture.height * picture.width / 8)
        wish = f"{limit} bytes of --bpp {arguments.bpp:g}"
    elif arguments.target_bytes is not None:
        limit = arguments.target_bytes
        wish = f"{limit} bytes of --target_bytes"
    else:
        return model.encode(picture, arguments.quality, **_coding(arguments))
    steps = round((QUALITIES[1] - QUALITIES[0]) * container.QUALITY_STEPS)
    quality, encoded = search.best_within(  # 8 encodes at most
        limit,
        [QUALITIES[0] + step / container.QUALITY_STEPS for step in range(steps + 1)],
        lambda quality: model.encode(picture, quality, **_coding(arguments)),
        size=lambda encoded: len(encoded.data),
    )
    if quality is None:
        size = len(encoded.data)
        raise InputError(f"the smallest possible file has {size} bytes, more than the {wish}")
    return encoded


def _coding(arguments: argparse.Namespace) -> dict:
    lanes = {"lanes": "serving"} if arguments.profile == "serving" else {}
    return {"coder": arguments.coder, **lanes}


def _decode(arguments: argparse.Namespace) -> int:
    jobs = _plan(arguments, ".png", lambda source, out: Job(source, picture=out))
    console = Console(len(jobs))

    def work(job: Job) -> str:
        data = _read(job.source, arguments.max_pixels)
        packed = container.unpack(data, job.source, arguments.max_pixels)
        images.check_format(job.picture, alpha=packed.alpha is not None)
        info = export.find_fingerprint(packed.fingerprint, job.source)
        model = _codec().load(info.path)
        model.on_tile = console.tile
        start = time.perf_counter()
        picture = model.decode(packed, job.source)
        seconds = time.perf_counter() - start
        images.write(job.picture, picture)
        return _line(job.source, packed, len(data), seconds)

    return console.for_each(_ready(jobs, arguments, console), work)


def _info(arguments: argparse.Namespace) -> int:
    def work(job: Job) -> str:
        data = _read(job.source, container.DEFAULT_MAX_PIXELS)
        # Nothing is decoded here, so that a picture of any size may be looked at.
        packed = container.unpack(data, job.source, max_pixels=2**70)
        try:
            info = export.find_fingerprint(packed.fingerprint, job.source)
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
            "quality": "one rate"
            if single
            else f"{1 + packed.quality / container.QUALITY_STEPS:g}",
            "model": f"fingerprint {packed.fingerprint.hex()}, {model}",
            "profile": f"{packed.profile}",
            "coder": container.CODER_NAMES[packed.coder] + (f", {lanes} lanes" * (lanes > 1)),
        }
        return "\n".join([job.source, *(f"  {key:8}{text}" for key, text in fields.items())])

    console = Console(files=1)  # too quick for a bar
    return console.for_each([Job(source) for source in arguments.inputs], work)


def _models(arguments: argparse.Namespace) -> int:
    console = Console(files=1)
    try:
        models = export.installed()
        default = export.find().name if models else None
    except ModelError as error:
        console.failure(error)
        return 1
    if not models:
        console.notice("no models are installed")
    for info in models:
        config = info.config
        size = sum(f.stat().st_size for f in pathlib.Path(info.path).rglob("*") if f.is_file())
        quality = "one rate"
        if info.qualities is not None:
            low, high = info.qualities
            quality = f"quality {low:g} - {high:g}, default {config['default_quality']:g}"
        print(
            info.name + (" (default)" * (info.name == default)),
            quality,
            f"{size / 2**20:.1f} MiB",
            f"fingerprint {info.fingerprint.hex()}",
            f"portable: {'yes' if config.get('portable') else 'no'}",
            sep="  ",
        )
        for point in config.get("measured", []):
            print(
                f"  quality {point['quality']:g}",
                f"{point['bpp']:.3f} bpp",
                f"{point['psnr']:.2f} dB PSNR",
                f"{point['ms_ssim']:.4f} MS-SSIM",
                sep="  ",
            )
    print(f"range coder: {range_coder.describe()}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    def work(job: Job) -> str:
        info = export.find(job.source)
        limits = arguments.max_pixels, arguments.max_turns
        served = _codec("serving").export(info, arguments.output, *limits, arguments.xla)
        size = sum(f.stat().st_size for f in pathlib.Path(served.path).rglob("*") if f.is_file())
        return f"{served.path}  {info.name}  {size / 2**20:.1f} MiB  signatures decode, encode"

    return Console(files=1).for_each([Job(arguments.model)], work)


def _freeze(arguments: argparse.Namespace) -> int:
    def work(job: Job) -> str:
        info = export.find(job.source)
        pictures = [images.read(path, arguments.max_pixels).rgb for path in arguments.calibrate]
        freezing = _codec("freezing")
        frozen = freezing.freeze(info, arguments.output, pictures, arguments.profile)
        count = len(frozen.config["exact"]["convolutions"])
        return (
            f"{frozen.path}  {frozen.name}  fingerprint {frozen.fingerprint.hex()}  portable: yes  "
            f"{arguments.profile}, {count} convolutions"
        )

    return Console(files=1).for_each([Job(arguments.model)], work)


def _convert(arguments: argparse.Namespace) -> int:
    console = Console(files=1)
    try:
        info = _codec("convert").convert(
            arguments.source,
            arguments.checkpoint,
            arguments.output,
            lmbda=arguments.lmbda,
            weights=arguments.weights,
            precision=arguments.precision,
        )
    except TfcodecError as error:
        console.failure(error)
        return 1
    count = info.config["parameters"]
    console.result(f"{info.path}  {info.name}  {count / 1e6:.2f} M parameters")
    return 0


def _codec(name: str = "codec"):
    """The module `tfcodec.codec`, or another that needs TensorFlow, loaded when first needed."""
    quiet.import_tensorflow()
    return importlib.import_module(f"tfcodec.{name}")


def _read(path: str, max_pixels: int) -> bytes:
    """The bytes of a .tfcd file, and never many more than a file of that many pixels can have."""
    limit = container.MAX_BYTES_PER_PIXEL * max_pixels + container.SPARE_BYTES
    try:
        with open(path, "rb") as file:
            start = file.read(len(container.MAGIC))
            if start != container.MAGIC:
                return start  # enough to be refused: whatever it is, it can be large
            data = start + file.read(limit)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a directory, not a file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > limit:
        raise ContainerError(f"{path}: is larger than any sound file of {max_pixels} pixels")
    return data


def _line(name: str, picture, size: int, seconds: float) -> str:
    """A result; `picture` is a Picture or a Container. The seconds are those of the codec alone."""
    width, height = picture.width, picture.height
    bpp = 8 * size / (width * height)
    return f"{name}  {width}x{height}  {size} bytes  {bpp:.3f} bpp  {seconds:.2f} s"


def _quality_figures(original: images.Picture, shown: images.Picture) -> str:
    similarity = metrics.ms_ssim(original.rgb, shown.rgb)
    figures = f"  {metrics.psnr(original.rgb, shown.rgb):.2f} dB PSNR"
    return figures + ("" if similarity is None else f"  {similarity:.4f} MS-SSIM")

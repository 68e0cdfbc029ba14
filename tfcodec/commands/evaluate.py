"""Codecs measured: `tfcodec evaluate kodak/*.png --output_dir runs/kodak --against jpeg,vtm`.

Measures and writes what `compare` makes again later, without pictures or models.
"""

import argparse
import os
import pathlib
from collections.abc import Callable

from tfcodec.commands.arguments import (
    Commands,
    add_command,
    add_max_pixels,
    names,
    parse_positive,
    parse_quality,
)
from tfcodec.commands.compare import need_extra_eval, title
from tfcodec.commands.console import Console, Job, import_tensorflow
from tfcodec.errors import ModelError, TfcodecError
from tfcodec.evaluation import comparison, contenders, curves, report
from tfcodec.evaluation.run import Evaluation, Task, read_source
from tfcodec.evaluation.summary import mean_points, summarise, to_json
from tfcodec.exports import installed
from tfcodec.files import atomic_write, check_folder

DEFAULT_AGAINST = "jpeg,webp,avif"


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "evaluate",
        run,
        "Measure models beside other codecs, with real files, really decoded. A run that was "
        "stopped goes on when it is started again.",
    )
    parser.add_argument("inputs", nargs="+", metavar="IMAGE", help="pictures, such as Kodak's")
    parser.add_argument(
        "--output_dir",
        required=True,
        metavar="DIR",
        help="gets points.csv, evaluation.json, tables.md, curves.png, report.html and all files",
    )
    parser.add_argument(
        "--models",
        type=names,
        metavar="A,B",
        help="installed models or exports (default: the bundled one)",
    )
    parser.add_argument(
        "--qualities",
        type=_qualities,
        default=contenders.DEFAULT_QUALITIES,
        metavar="Q,Q",
        help="of the models of variable rate (default: 1,2,3,4,5,6,7,8)",
    )
    parser.add_argument(
        "--against",
        type=names,
        default=DEFAULT_AGAINST,
        metavar="NAME,NAME",
        help="jpeg, webp, avif, jxl: measured, with Pillow; vtm, bpg, weconvene, hpcm-large ...: "
        "as published, on Kodak; or a file of curves (default: %(default)s)",
    )
    parser.add_argument(
        "--report_bpp",
        type=parse_positive(float),
        default=0.3,
        metavar="B",
        help="most bits per pixel of the pictures in the report (default: %(default)s)",
    )
    parser.add_argument(
        "--report_images",
        type=names,
        metavar="NAME,NAME",
        help="pictures in the report, without suffix, or `none` (default: all)",
    )
    add_max_pixels(parser)


def _qualities(text: str) -> list[float]:
    return [parse_quality(part) for part in text.split(",")]


def run(arguments: argparse.Namespace) -> int:
    console = Console(len(arguments.inputs))
    names = [pathlib.Path(path).stem for path in arguments.inputs]
    _refuse_twins(arguments, names)
    wanted = _report_names(arguments, names)
    try:
        need_extra_eval()
        check_folder(arguments.output_dir)
        codecs, against = _codecs(arguments, console)
    except TfcodecError as error:
        console.failure(error)
        return 1
    for k, codec in enumerate(codecs):
        if codec.name in [other.name for other in codecs[:k]]:
            arguments.parser.error(f"two codecs have the name {codec.name}")

    sources = []

    def look_at(job) -> None:
        sources.append(read_source(job.source, arguments.max_pixels))

    console.for_each([Job(path) for path in arguments.inputs], look_at)
    if not sources:
        return 1
    try:
        import_tensorflow()  # which a model's arithmetic is counted with
        limit = arguments.max_pixels
        with Evaluation(sources, codecs, arguments.output_dir, limit) as evaluation:
            _measure(evaluation, evaluation.tasks(), console)
            summary = summarise(evaluation, console.notice)
            own = curves.from_evaluation(summary)
            compared = comparison.compare(summary, own, against, console.notice)
            summary["bd_rates"] = compared.bd_rates()
            _write(arguments, "evaluation.json", to_json(summary))
            _write(arguments, "tables.md", compared.markdown())
            figure = comparison.figure(compared, title(compared))
            atomic_write(os.path.join(arguments.output_dir, "curves.png"), figure)
            console.result("\n" + compared.markdown())
            chosen = [source for source in sources if source.name in wanted]
            _report(arguments, evaluation, chosen, console, compared, figure)
    except TfcodecError as error:
        console.failure(error)
        return 1
    _tell_broken_laws(summary, console)
    return console.status


def _refuse_twins(arguments: argparse.Namespace, names: list[str]) -> None:
    """Ends with status 2 if two pictures have one name, by which all that is measured is known."""
    for name in names:
        twins = [path for path in arguments.inputs if pathlib.Path(path).stem == name]
        if len(twins) > 1:
            arguments.parser.error(f"two pictures have one name: {' and '.join(twins)}")


def _report(
    arguments: argparse.Namespace,
    evaluation: Evaluation,
    chosen: list,
    console: Console,
    compared: comparison.Comparison,
    figure: bytes,
) -> None:
    """Makes report.html, with files of one rate to look at, each of which takes a search."""
    tasks = evaluation.equal_rate_tasks(chosen, arguments.report_bpp)
    if todo := sum(evaluation.known(task) is None for task in tasks):
        console.notice(
            f"the tables are complete; now {todo} files of at most {arguments.report_bpp:g} bits "
            "per pixel for the pictures in report.html (`--report_images none` leaves them out)"
        )
    _measure(evaluation, tasks, console, silent=True)
    album = _album(evaluation, tasks, chosen, console)
    page = report.page(compared, figure, album, arguments.report_bpp, console.notice, len(chosen))
    _write(arguments, "report.html", page)


def _tell_broken_laws(summary: dict, console: Console) -> None:
    for name, codec in summary["codecs"].items():
        law = codec["laws"]
        if law and law["other_pixels"] + law["far_from_estimate"]:
            sentence = (
                f"{name}: {law['other_pixels']} files show other pixels than the encoder promised, "
                f"{law['far_from_estimate']} are far from the model's estimate"
            )
            console.failure(ModelError(sentence))


def _report_names(arguments: argparse.Namespace, names: list[str]) -> list[str]:
    if arguments.report_images == ["none"]:
        return []
    for name in arguments.report_images or ():
        if name not in names:
            arguments.parser.error(f"--report_images: {name!r} is none of the pictures' names")
    return arguments.report_images or names


def _codecs(arguments: argparse.Namespace, console) -> tuple[list, list[str]]:
    """(the codecs to measure, names of the curves to compare with), as the flags ask."""
    models = [installed.find(name) for name in arguments.models or [None]]
    codecs = [contenders.model(info, arguments.qualities) for info in models]
    against = []
    for name in arguments.against:
        if name in contenders.PILLOW:
            codec = contenders.pillow(name)
            if codec is None:
                console.notice(f"{name}: left out, this Pillow does not write it")
                continue
            codecs.append(codec)
        against.append(name)
    comparison.check_names(against, [codec.name for codec in codecs])  # now, not after an hour
    return codecs, against


def _measure(run: Evaluation, tasks: list, console, silent: bool = False) -> None:
    """Measures what is not known yet, with a bar; tells the means of each quality when it is
    through."""
    todo = [task for task in tasks if run.known(task) is None]
    if not silent and len(todo) < len(tasks):
        console.notice(f"{len(tasks) - len(todo)} of {len(tasks)} points are there already")
    last = {(task.codec.name, task.quality): task for task in todo}

    def work(task):
        run.measure(task)
        if silent or last[task.codec.name, task.quality] is not task:
            return None
        done = [t for t in tasks if (t.codec, t.quality) == (task.codec, task.quality)]
        points = [point for point in map(run.known, done) if point is not None]
        return _line(task, points)

    console.expect(len(todo))
    console.for_each(todo, work, job=lambda task: Job(task.picture.path))


def _line(task: Task, points: list[dict]) -> str:
    [mean] = mean_points(points)
    line = task.codec.title + ("" if task.quality is None else f"  quality {task.quality:g}")
    line += f"  {mean['bpp']:.3f} bpp"
    if mean["psnr"] is not None:
        line += f"  {mean['psnr']:.2f} dB PSNR"
    else:
        exact = sum(point["psnr"] is None for point in points)
        line += f"  infinite PSNR ({exact} of {len(points)} without loss)"
    if mean["ms_ssim"] is not None:
        line += f"  {mean['ms_ssim']:.4f} MS-SSIM"
    seconds = [
        sum(p[f"{way}_seconds"] for p in points) / len(points) for way in ("encode", "decode")
    ]
    return line + "  enc {:.2f} s  dec {:.2f} s".format(*seconds)


def _album(run: Evaluation, tasks: list, chosen: list, console: Console) -> report.Album:
    """Pictures that every codec could do, beside their originals."""
    # Codec by codec, so that each one's process is started once.
    decoded = {task: _lazy(run, task) for task in tasks if run.known(task) is not None}
    album = report.Album()
    console.expect(len(chosen))
    for k, picture in enumerate(chosen):
        console.step(f"report.html  {picture.name}", k, len(chosen))
        own = [task for task in tasks if task.picture is picture]
        if all(task in decoded for task in own):
            versions = [
                (task.codec.title, run.known(task), run.path(run.known(task)), decoded[task])
                for task in own
            ]
            album.add(picture.name, run.original(picture), versions)
    return album


def _lazy(run: Evaluation, task: Task) -> Callable:
    return lambda: run.decoded(task)


def _write(arguments: argparse.Namespace, name: str, text: str) -> None:
    atomic_write(os.path.join(arguments.output_dir, name), text.encode())

"""Whether .tfcd files are sound: `tfcodec verify archive/`. Nothing is decoded, unless asked for.

Header, lengths, CRC-32, the structure of lanes and escapes, alpha channel and metadata are looked
at, without networks and without TensorFlow. What only decoding can tell is whether this machine,
with the model that is installed, gets the symbols that the encoder had: `--decode` does that.
"""

import argparse

from tfcodec import pictures
from tfcodec.coding import container
from tfcodec.commands.arguments import Commands, add_command, add_max_pixels, add_verbose
from tfcodec.commands.console import Console, Job, facts_line, load_codec
from tfcodec.commands.decode import FILES, read_file
from tfcodec.commands.jobs import expand
from tfcodec.exports import installed


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "verify",
        run,
        "Check .tfcd files: CRC-32 and structure, without a model. Whether their symbols decode as "
        "they were encoded is seen with --decode alone.",
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="IN", help=".tfcd files, folders of them, or - for stdin"
    )
    parser.add_argument(
        "--decode",
        action="store_true",
        help="decode, too, which compares the checksum of the symbols; needs the models",
    )
    add_max_pixels(parser)
    add_verbose(parser)


def run(arguments: argparse.Namespace) -> int:
    console = Console(reports=True, verbose=arguments.verbose)
    sources = expand(arguments.inputs, FILES, console)
    console.expect(len(sources))

    def work(job: Job) -> str:
        data = read_file(job.source, arguments.max_pixels)
        packed = container.unpack(data, job.name, arguments.max_pixels)
        if packed.alpha is not None:
            pictures.alpha_from_png(packed.alpha, packed.height, packed.width, job.name)
        if packed.metadata is not None:
            pictures.metadata_from_bytes(packed.metadata, job.name)
        if arguments.decode:
            info = installed.find_fingerprint(packed.fingerprint, job.name)
            model = load_codec(info, console, decoding=True, once=len(sources) == 1)
            model.decode(packed, job.name, console.tile)
        return facts_line(job.name, packed, len(data)) + "  sound"

    return console.for_each([Job(source.path) for source in sources], work)

"""Laws of the page that decodes in a browser, docs/view.html: it says what Python says.

Its parts are compared in Node, the page itself in a headless Chromium, where they are installed.
"""

import dataclasses
import io
import json
import os
import pathlib
import shutil
import subprocess
import zipfile
import zlib

import numpy as np
import pytest
from drawn import as_png
from PIL import Image

from tfcodec import codec, pictures
from tfcodec.coding import container, open_decoder, open_encoder
from tfcodec.coding.tables import CodingTables
from tfcodec.entropy.walk import StepDecoder, walk
from tfcodec.errors import ContainerError, ModelError
from tfcodec.exports import installed, litert, tiles
from tfcodec.quality import Ladder

ROOT = pathlib.Path(__file__).parents[1]
DATA, WEB, PAGE = ROOT / "tests" / "data", ROOT / "web", ROOT / "docs" / "view.html"
NODE = shutil.which("node")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
NAME = "k.tfcd"
MODEL = "quad-base"

needs_node = pytest.mark.skipif(NODE is None, reason="Node is not installed")


def node(*arguments, **environment):
    """What Node prints; fails if it does."""
    done = subprocess.run(
        [NODE, *map(str, arguments)],
        cwd=WEB,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compare(folder, test, **files):
    """Runs one of the tests in JavaScript on files, JSON unless they are bytes."""
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            (folder / f"{name}.json").write_text(json.dumps(content))
    node("--test", f"tests/{test}.test.mjs", TFCODEC_CASES=str(folder))


def sealed(data):
    """A file whose CRC-32 is right again."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def verdict(data):
    """What Python makes of a file: its fields, or the sentence that refuses it."""
    try:
        found = container.unpack(data, NAME)
    except ContainerError as error:
        return {"error": str(error)}
    fields = vars(found) | {
        "fingerprint": found.fingerprint.hex(),
        "streams": [stream.hex() for stream in found.streams],
        "alpha": None if found.alpha is None else found.alpha.hex(),
        "sizes": container.part_sizes(data, NAME),
    }
    del fields["metadata"]
    return {"fields": fields}


def sound_files():
    """Files of every kind of part: the pinned ones, and some that are made up."""
    pinned = [path.read_bytes() for path in sorted(DATA.glob("*.tfcd"))]
    base = container.unpack(pinned[0])
    random = np.random.default_rng(0)
    kinds = []
    for lanes in (1, 2, 16, 1024):
        streams = tuple(random.bytes(random.integers(0, 40)) for _ in range(lanes))
        kinds.append(dataclasses.replace(base, streams=streams, height=300, width=2**14))
    parts = {
        "escapes": (300, -2, 0, -32767, 32767),
        "alpha": b"PNG",
        "metadata": b"said",
        "gray": True,
    }
    kinds.append(dataclasses.replace(base, **parts))
    return pinned + [container.pack(kind) for kind in kinds]


def mutated(data, random):
    """A file with bytes changed, cut off, put in or taken out, in half the cases sealed again."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 4)):
        at = int(
            random.integers(0, min(len(changed), 64) if random.random() < 0.7 else len(changed))
        )
        kind = random.integers(0, 5)
        if kind < 2:
            changed[at] ^= 1 << random.integers(0, 8)
        elif kind == 2:
            changed[at] = random.choice([0, 1, 127, 128, 255])
        elif kind == 3:
            del changed[at : at + random.integers(1, 9)]
        else:
            changed[at:at] = random.bytes(random.integers(1, 5))
        changed = changed or bytearray(b"t")
    return sealed(bytes(changed)) if random.random() < 0.5 else bytes(changed)


def hostile_files(count=1500):
    random, sound = np.random.default_rng(1), sound_files()
    files = [mutated(sound[k % len(sound)], random) for k in range(count)]
    files += [b"", b"tf", b"tfcd", b"tfcd\x02", b"\x89PNG\r\n", b"a\\'b", b"'\"\t\x00"]
    with zipfile.ZipFile(DATA / "fuzz.zip") as kept:
        inputs = [kept.read(name)[1:] for name in kept.namelist()]
    beginning = sound[0][:13]
    return files + inputs + [sealed(beginning + data[13:]) for data in inputs if len(data) > 17]


@needs_node
def test_the_page_reads_and_refuses_files_as_python_does(tmp_path):
    files = sound_files() + hostile_files()
    verdicts = [verdict(data) for data in files]
    refused = sum("error" in each for each in verdicts)
    assert len(verdicts) / 4 < refused < len(verdicts)
    cases = [{"file": data.hex(), **each} for data, each in zip(files, verdicts, strict=True)]
    compare(tmp_path, "container", container=cases)


# Two symbols share all; the others have 2^-16 each, which can leave an interval of 2^16.
STEEP = np.array([0.6, 0.4, 1e-9, 1e-9, 1e-9])


def random_tables(random, rows=12):
    """Tables of every width, some of them steep."""
    made = [
        (random.dirichlet(np.full(size, 0.3)) + 1e-9, -size // 2) for size in range(2, 2 + rows)
    ]
    return CodingTables.build(made)


def coded(tables, steps, lanes):
    """A case: steps of (indexes, symbols), and what they are coded to."""
    encoder = open_encoder(0, tables, lanes)
    for indexes, symbols in steps:
        encoder.write(indexes, symbols)
    streams, escapes = encoder.finish()
    return {
        "streams": [stream.hex() for stream in streams],
        "escapes": list(escapes),
        "steps": [
            {
                "indexes": indexes.tolist(),
                "symbols": symbols.tolist(),
                "bits": float(tables.ideal_bits(indexes, symbols).sum()),
            }
            for indexes, symbols in steps
        ],
        "checksum": container.symbols_checksum(symbols for _, symbols in steps),
    }


@needs_node
def test_the_page_decodes_the_symbols_that_python_coded(tmp_path):
    random = np.random.default_rng(2)
    tables, cases = random_tables(random), []
    for lanes in (1, 2, 8, 64):
        steps = []
        for count in (1, 63, 64, 1000, 5000):
            indexes = random.integers(1, tables.sizes.size, count).astype(np.int32)
            symbols = np.rint(random.laplace(0, 2, count)).astype(np.int32)
            symbols[random.random(count) < 0.01] = random.integers(-32767, 32768)
            steps.append((indexes, symbols))
        for count in random.integers(1, 2 * lanes + 1, 400):
            symbols = random.integers(0, 4, count).astype(np.int32)
            steps.append((np.full(count, tables.sizes.size - 1, np.int32), symbols))
        cases.append(coded(tables, steps, lanes))
    compare(tmp_path, "arithmetic", cases=cases, **table_files(tables))


def table_files(tables):
    return {name: getattr(tables, name).astype("<i4").tobytes() for name in litert.TABLES}


@needs_node
def test_the_page_decodes_the_symbols_of_a_pinned_file(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    model = codec.load(MODEL, "litert")
    packed = container.unpack((DATA / f"{MODEL}.tfcd").read_bytes())
    exported, steps = model.exported, []
    shapes = exported.shapes(packed.height, packed.width)
    decoder = open_decoder(packed.coder, exported.tables, packed.streams, packed.escapes)
    visitor = StepDecoder(shapes, decoder)

    def visit(k, prior):
        symbols = visitor(k, prior)
        indexes = np.broadcast_to(prior.indexes, symbols.shape)
        steps.append((indexes.reshape(-1), symbols.reshape(-1)))
        return symbols

    visit.num_steps = visitor.num_steps
    walk(exported, visit)
    case = coded(exported.tables, steps, 1)
    assert case["streams"] == [stream.hex() for stream in packed.streams]
    assert case["checksum"] == packed.checksum
    compare(tmp_path, "arithmetic", cases=[case], **table_files(exported.tables))


@needs_node
def test_tiles_and_rungs_are_those_of_python(tmp_path):
    config = installed.find(MODEL).config
    cases, rungs = [], []
    for bytes_per_pixel, margins in ((32, [72, 72]), (4096, [40, 104]), (2**14, [0, 64])):
        tiling = {"synthesis": margins, "bytes_per_pixel": bytes_per_pixel}
        for height, width in ((64, 64), (128, 20480), (4032, 6016), (2048, 1024), (6400, 6400)):
            found = tiles.grid(height, width, tiling, "synthesis", 64)
            grid = [[vars(span) for span in tile] for tile in found]
            cases.append({"height": height, "width": width, "tiling": tiling, "grid": grid})
    assert max(len(case["grid"]) for case in cases) > 100
    for qualities in ([1, 8], [2, 5.5], None):
        changed = config | {"qualities": qualities}
        ladder = Ladder.read(changed)
        rungs.append({"config": changed, "rungs": [ladder.rung(byte) for byte in range(256)]})
    compare(tmp_path, "codec", tiles=cases, rungs=rungs)


def gray_png(alpha, **save):
    buffer = io.BytesIO()
    Image.fromarray(alpha).save(buffer, "PNG", **save)
    return buffer.getvalue()


def changed_at(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def alpha_verdict(data, height, width):
    try:
        return {"pixels": pictures.alpha_from_png(data, height, width, NAME).tobytes().hex()}
    except ContainerError as error:
        # Behind the bracket is what a library says.
        return {"error": str(error).split(" (")[0]}


@needs_node
def test_alpha_and_png_files_are_those_of_python(tmp_path):
    random, alphas, out = np.random.default_rng(3), [], []
    for height, width in ((1, 1), (47, 33), (1, 300), (128, 64)):
        smooth = np.add.outer(np.arange(height), 3 * np.arange(width)) % 256
        for alpha in (smooth.astype(np.uint8), random.integers(0, 256, [height, width], np.uint8)):
            sound = pictures.alpha_to_png(alpha)
            broken = [changed_at(sound, at) for at in range(0, len(sound), 7)]
            foreign = [gray_png(np.dstack([alpha] * 3)), b"PNG", sound[:-1], sound + b"a"]
            for data in (sound, gray_png(alpha, compress_level=0), *broken[:40], *foreign):
                case = {"png": data.hex(), "height": height, "width": width}
                alphas.append(case | alpha_verdict(data, height, width))
        for channels in (1, 2, 3, 4):
            pixels = random.integers(0, 256, [height, width, channels], np.uint8)
            out.append({"shape": pixels.shape, "pixels": pixels.tobytes().hex()})
    compare(tmp_path, "png", alphas=alphas, pictures=out)
    for k, case in enumerate(out):
        with Image.open(tmp_path / f"{k}.png") as image:
            found = np.asarray(image)
            assert image.mode == ("L", "LA", "RGB", "RGBA")[case["shape"][2] - 1]
        assert found.tobytes().hex() == case["pixels"]


@needs_node
def test_a_network_of_closed_shapes_computes_the_same(tmp_path, monkeypatch):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    network = bytes_of(litert.Functions(installed.find(MODEL)), "step1", monkeypatch)
    inputs = [np.arange(2 * 3 * 96).reshape([1, 2, 3, 96]).astype(np.int32) % 3]
    expected = litert.Network(model_content=network).run(inputs)
    sides = {"inputs": [[2, 3]], "outputs": [array.shape[1:3] for array in expected]}
    compare(tmp_path, "shapes", network=network, shapes=sides)
    from ai_edge_litert.interpreter import Interpreter

    closed = Interpreter(model_content=(tmp_path / "closed").read_bytes())
    for details, arrays in (
        (closed.get_input_details(), inputs),
        (closed.get_output_details(), expected),
    ):
        assert [tuple(each["shape_signature"]) for each in details] == [a.shape for a in arrays]
    found = litert.Network(model_content=(tmp_path / "closed").read_bytes()).run(inputs)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def bytes_of(functions, name, monkeypatch):
    """A network's file, which is made of the model's weights where it is loaded."""
    made = []

    def keep(size, fill):
        made.append(np.empty(size, np.uint8))
        fill(made[0])

    with monkeypatch.context() as patch:
        patch.setattr(litert.Network, "made", keep)
        functions.network(name)
    return made[0].tobytes()


@needs_node
def test_the_page_is_what_its_sources_build(tmp_path):
    if not (WEB / "node_modules" / "esbuild").exists():
        pytest.skip("the packages of web/ are not installed: npm ci")
    node("build.mjs", "--page", tmp_path / "view.html")
    assert (tmp_path / "view.html").read_text() == PAGE.read_text(), "run `npm run build` in web/"


def test_the_page_asks_no_other_host():
    lock = json.loads((WEB / "package-lock.json").read_text())
    for package in lock["packages"].values():
        assert package.get("resolved", "https://registry.npmjs.org/").startswith(
            "https://registry.npmjs.org/"
        )


# ---------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def model():
    """The codec of the model that the page has; skips where the page cannot be opened."""
    if NODE is None or CHROMIUM is None:
        pytest.skip("Node and Chromium are not both installed")
    if not (WEB / "node_modules" / "playwright-core").exists():
        pytest.skip("the packages of web/ are not installed: npm ci")
    try:
        found = codec.load(MODEL)
    except ModelError as error:
        pytest.skip(str(error))
    index = ROOT / "docs" / "view" / "models" / "index.json"
    if not index.exists() or found.info.fingerprint.hex() not in index.read_text():
        pytest.skip("docs/view is not built, or of another model: see docs/view.md")
    return found


def photograph(height=512, width=768):
    with Image.open(ROOT / "examples" / "kodim23.png") as image:
        return np.asarray(image.convert("RGB"))[:height, :width]


def browse(files, folder):
    """What the page shows of files, [{"png" or "error", ...}]."""
    out = folder / "out"
    out.mkdir()
    settings = {"page": str(PAGE), "chromium": CHROMIUM, "files": files, "out": str(out)}
    found = json.loads(node("tests/browse.mjs", json.dumps(settings)))
    assert not found["elsewhere"], "the page asked another host"
    assert not found["faults"], found["faults"]
    return found["outcomes"]


@pytest.mark.slow
def test_the_browser_shows_what_python_decodes(model, tmp_path):
    alpha = (np.add.outer(np.arange(155), np.arange(201)) % 256).astype(np.uint8)
    shown = {
        "large": (photograph(), {"quality": 4}),
        "fine": (photograph(300, 420), {"quality": 8, "lanes": 16}),
        "one": (photograph(1, 1), {"quality": 5}),
        "gray": (photograph(47, 33)[..., :1], {"quality": 6.5}),
        "alpha": (np.dstack([photograph(155, 201), alpha]), {"quality": 1}),
        "gray with alpha": (np.dstack([photograph(155, 201)[..., 0], alpha]), {"quality": 3}),
    }
    files, expected = [], []
    for name, (pixels, wishes) in shown.items():
        data = model.encode(pictures.from_array(pixels), **wishes).data
        files.append(str(tmp_path / f"{name}.tfcd"))
        pathlib.Path(files[-1]).write_bytes(data)
        expected.append(pictures.to_array(model.decode(container.unpack(data))))
    files.append(str(DATA / f"{MODEL}.tfcd"))  # pinned, with its picture
    with Image.open(DATA / f"{MODEL}.png") as image:
        expected.append(np.asarray(image))
    for file, array, found in zip(files, expected, browse(files, tmp_path), strict=True):
        assert "error" not in found, found
        assert found["download"] == pathlib.Path(file).stem + ".png"
        bits = sum(int(row[1].replace("\u202f", "")) for row in found["parts"])
        assert abs(bits - 8 * os.path.getsize(file)) <= len(found["parts"])
        with Image.open(found["png"]) as image:
            pixels = np.asarray(image).astype(int).reshape(array.shape)
        difference = np.abs(pixels - array)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.001
        if array.ndim == 3 and array.shape[2] in (2, 4):
            assert not difference[..., -1].any(), "alpha is lossless"


@pytest.mark.slow
def test_the_browser_refuses_files_in_the_sentences_of_python(model, tmp_path):
    sound = model.encode(pictures.from_array(photograph(100, 140)), 4).data
    files = {
        "damaged": changed_at(sound, len(sound) // 2),
        "truncated": sound[:-9],
        "foreign": as_png(photograph(64, 64)),
        "wrong": sealed(changed_at(sound, len(sound) - 8)),  # the symbols' checksum
        "other": sealed(changed_at(sound, 5)),  # the fingerprint
        "coder": sealed(sound[:12] + b"\x10" + sound[13:]),  # range-coder
        "sound": sound,
    }
    paths = []
    for name, data in files.items():
        paths.append(str(tmp_path / f"{name}.tfcd"))
        pathlib.Path(paths[-1]).write_bytes(data)
    found = dict(zip(files, browse(paths, tmp_path), strict=True))
    for name in ("damaged", "truncated", "foreign"):
        with pytest.raises(ContainerError) as refused:
            container.unpack(files[name], f"{name}.tfcd")
        assert found[name].get("error") == str(refused.value)
    assert "the decoded symbols differ from the encoder's" in found["wrong"]["error"]
    assert "which this page does not have; it has quad-base" in found["other"]["error"]
    assert "range-coder, which this page does not have" in found["coder"]["error"]
    assert "error" not in found["sound"], "the page goes on after errors"

"""The transforms over pairs of (name, bytes), in a pipeline of one's own."""

import concurrent.futures
import pathlib
import pickle

import pytest
from pipelines import photograph

import tfcodec
from tfcodec.errors import InputError

beam = pytest.importorskip("apache_beam", reason="needs the extra beam")

from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from apache_beam.testing.util import assert_that, equal_to  # noqa: E402

from tfcodec.beam import Compress, Decompress, OverFiles, Verify, tasks  # noqa: E402

OPTIONS = {"allow_unsafe_triggers": True}  # keeps DirectRunner from a download


@pytest.fixture
def pairs(here):
    names = ("a.png", "b/c.jpg")
    return [(name, photograph(name, k).read_bytes()) for k, name in enumerate(names)]


def run(pairs, transform, expected):
    """Applies it and checks {tag: elements}."""
    with beam.Pipeline(options=PipelineOptions(**OPTIONS)) as pipeline:
        found = pipeline | beam.Create(pairs) | transform
        for tag, elements in expected.items():
            assert_that(found[tag], equal_to(elements), label=tag)


def test_compress_gives_the_bytes_of_the_package_and_dead_letters(pairs):
    files = [
        (f"{name[:-4]}.tfcd", tfcodec.compress(name, "models/tiny", quality=3)) for name, _ in pairs
    ]
    dead = {"name": "d.png", "sentence": "d.png: the file is empty"}
    transform = Compress("models/tiny", quality=3)
    run([*pairs, ("d.png", b"")], transform, {"files": files, "dead_letters": [dead]})


def test_decompress_gives_what_compress_was_given_and_verify_says_so(pairs):
    files = [(f"{n[:-4]}.tfcd", tfcodec.compress(n, "models/tiny")) for n, _ in pairs]
    pictures = []
    for name, data in files:
        tfcodec.decode_file(data, "o.bmp", overwrite=True)
        pictures.append((f"{name}.bmp", pathlib.Path("o.bmp").read_bytes()))
    run(files, Decompress(".bmp"), {"files": pictures, "dead_letters": []})
    damaged = ("x.tfcd", files[0][1][:-1])
    sentence = "x.tfcd: checksums need 8 bytes, 7 remain; is the file truncated?"
    dead = [{"name": "x.tfcd", "sentence": sentence}]
    run([*files, damaged], Verify(decode=True), {"files": [], "dead_letters": dead})


def test_what_cannot_be_is_refused_before_the_pipeline_runs(here):
    with pytest.raises(InputError, match="to one wish, not to several"):
        Compress("models/tiny", quality=3, bpp=1)
    with pytest.raises(InputError, match="quality is from"):
        Compress("models/tiny", quality=9)
    with pytest.raises(InputError, match="cannot write the format '.xyz'"):
        Decompress(".xyz")
    with pytest.raises(InputError, match="outputs go to files, tar or tfrecord, received 'zip'"):
        OverFiles(Verify(), "a", "b", to="zip")
    with pytest.raises(InputError, match="shards is 1 or more, received 0"):
        OverFiles(Verify(), "a", "b", shards=0)


def test_a_process_loads_its_model_once_however_many_threads_ask(here, monkeypatch):
    loaded, load = [], tasks.codec.Codec.__init__

    def counted(self, info, runtime=None):
        loaded.append(info)
        load(self, info, runtime)

    monkeypatch.setattr(tasks.codec.Codec, "__init__", counted)
    task = pickle.loads(pickle.dumps(Compress("models/tiny").task))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: task.start(), range(8)))
    assert len(loaded) == 1


def test_a_model_is_found_by_its_weights_where_its_folder_is_another(here, monkeypatch):
    task = Compress("models/tiny").task
    pathlib.Path("models/tiny").rename("models/elsewhere")
    picture = photograph("a.png").read_bytes()
    assert tfcodec.info(task.work(picture, "a.png").data).model == "tiny"

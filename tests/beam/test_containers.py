"""WebDataset tars and TFRecord files, in and out."""

import io
import pathlib
import struct
import tarfile

import pytest
from pipelines import dead_letters, lines, photograph, photographs, tree

from tfcodec.commands import main as cli

pytest.importorskip("apache_beam", reason="needs the extra beam")

from tfcodec.beam import containers  # noqa: E402


def make_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def read_tar(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def read_records(path):
    """{file name: bytes}, by TensorFlow, which checks both CRCs of each."""
    import tensorflow as tf

    found = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        name = features["image/filename"].bytes_list.value[0].decode()
        found[name] = features["image/encoded"].bytes_list.value[0]
        assert name.endswith(features["image/format"].bytes_list.value[0].decode())
    return found


def compress(source, output="small", more=""):
    words = f"beam compress --input {source} --output {output} --model models/tiny {more}"
    return cli.main(words.split())


def encoded():
    """{name: bytes} of photos/ as the command line makes them."""
    cli.main("encode photos --output_dir plain --model models/tiny".split())
    return tree("plain")


READ = {"tar": read_tar, "tfrecord": read_records}


@pytest.mark.parametrize("kind", READ)
class TestOut:
    def test_all_outputs_are_in_the_containers_and_where_the_manifest_says(self, here, kind):
        photographs()
        compress("photos", more=f"--to {kind} --shards 2")
        found = tree("small")
        names = [f"pictures-0000{k}-of-00002.{kind}" for k in range(2)]
        assert sorted(found) == names
        members = {}
        for name in names:
            members |= READ[kind](pathlib.Path("small", name))
        assert members == encoded()
        for entry in lines("small"):
            start = entry["offset"]
            data = found[entry["output"]][start : start + entry["output_bytes"]]
            assert data == members[entry["name"].replace(".png", ".tfcd")]

    def test_again_nothing_is_done_and_nothing_changes(self, here, kind, capsys):
        photographs()
        compress("photos", more=f"--to {kind}")
        before, entries = tree("small"), lines("small", seconds=True)
        compress("photos", more=f"--to {kind}")
        assert "  0 done  5 there already" in capsys.readouterr().out
        assert tree("small") == before and lines("small", seconds=True) == entries

    def test_one_more_picture_is_put_in_and_the_others_are_not_done_again(self, here, kind, capsys):
        photographs()
        compress("photos", more=f"--to {kind}")
        photograph("photos/new.png", 5)
        compress("photos", more=f"--to {kind}")
        assert "  1 done  5 there already" in capsys.readouterr().out
        assert READ[kind](f"small/pictures-00000-of-00001.{kind}") == encoded()

    def test_they_are_read_again(self, here, kind):
        photographs()
        compress("photos", more=f"--to {kind}")
        words = f"beam decompress --input small/*.{kind} --output back --format png"
        assert cli.main(words.split()) == 0
        encoded()
        cli.main("decode plain --output_dir other --format png".split())
        assert sorted(tree("back").values()) == sorted(tree("other").values())


class TestWebDataset:
    @pytest.fixture
    def shard(self, here):
        """shards/s-0.tar of two samples, the pictures of which are returned."""
        pictures = {name: photograph(f"p/{name}", k) for k, name in enumerate(["a.png", "b.jpg"])}
        pictures = {name: path.read_bytes() for name, path in pictures.items()}
        pathlib.Path("shards").mkdir()
        members = {"a.cls": b"1", "a.png": pictures["a.png"], "b.jpg": pictures["b.jpg"]}
        make_tar("shards/s-0.tar", {**members, "b.cls": b"2"})
        return pictures

    def test_a_tar_becomes_a_tar_of_its_name_with_its_labels(self, shard):
        assert compress("shards", more="--to tar") == 0
        assert list(tree("small")) == ["s-0.tar"]
        members = read_tar("small/s-0.tar")
        assert list(members) == ["a.cls", "a.tfcd", "b.cls", "b.tfcd"]
        assert (members["a.cls"], members["b.cls"]) == (b"1", b"2")
        cli.main("encode p --output_dir plain --model models/tiny".split())
        assert members["a.tfcd"] == tree("plain")["a.tfcd"]

    def test_to_files_its_pictures_stand_in_a_folder_of_its_name(self, shard):
        compress("shards")
        assert list(tree("small")) == ["s-0/a.tfcd", "s-0/b.tfcd"]

    def test_a_tar_that_is_cut_off_gives_what_it_holds(self, shard):
        path = pathlib.Path("shards/s-0.tar")
        at = path.read_bytes().index(shard["b.jpg"])
        path.write_bytes(path.read_bytes()[: at - 300])
        assert compress("shards") == 1
        assert list(tree("small")) == ["s-0/a.tfcd"]
        (sentence,) = dead_letters("small").values()
        assert sentence.startswith("shards/s-0.tar: not an uncompressed tar, or damaged (")

    @pytest.mark.parametrize("name", ["../out.png", "/out.png", "a/../../out.png"])
    def test_no_member_leads_out_of_the_output_folder(self, shard, name):
        make_tar("shards/s-0.tar", {name: shard["a.png"]})
        assert compress("shards/s-0.tar") == 1
        assert tree("small") == {}
        (sentence,) = dead_letters("small").values()
        assert sentence == f"shards/s-0.tar: its member '{name}' lies outside of it"

    def test_a_compressed_tar_is_a_sentence(self, shard):
        with tarfile.open("z.tar", "w:gz") as tar:
            tar.add("p/a.png")
        assert compress("z.tar") == 1
        (sentence,) = dead_letters("small").values()
        assert sentence.startswith("z.tar: not an uncompressed tar, or damaged (")


class TestRecords:
    def test_pictures_in_records_are_named_by_their_numbers(self, here):
        import tensorflow as tf

        data = [photograph(f"p/{k}.png", k).read_bytes() for k in range(2)]
        with tf.io.TFRecordWriter("d.tfrecord-00001-of-00002") as writer:
            for picture in data:
                value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture]))
                features = tf.train.Features(feature={"image/encoded": value})
                writer.write(tf.train.Example(features=features).SerializeToString())
            writer.write(b"no example")
        assert compress("d.tfrecord-00001-of-00002") == 1
        assert list(tree("small")) == [f"d-00001-of-00002/{k:08d}.tfcd" for k in range(2)]
        cli.main("encode p --output_dir plain --model models/tiny".split())
        assert list(tree("small").values()) == list(tree("plain").values())
        (sentence,) = dead_letters("small").values()
        assert sentence.startswith("d.tfrecord-00001-of-00002/00000002: ")

    def test_what_is_no_record_file_is_a_sentence(self, here):
        pathlib.Path("d.tfrecord").write_bytes(struct.pack("<Q", 5) + b"abcdefghijk")
        assert compress("d.tfrecord") == 1
        (sentence,) = dead_letters("small").values()
        assert sentence.startswith("d.tfrecord: not an uncompressed TFRecord file, or damaged at")


@pytest.mark.parametrize("kind", READ)
def test_offsets_are_those_of_the_bytes(kind):
    """Names of more than a header's 100 bytes, too, and bytes that fill blocks or do not."""
    members = [("n" * size + ".tfcd", bytes([7]) * size) for size in (0, 1, 150, 511, 512, 513)]
    file = io.BytesIO()
    offsets = list(containers.write(file, kind, members))
    for (_, data), offset in zip(members, offsets, strict=True):
        assert file.getvalue()[offset : offset + len(data)] == data

import gzip
import io

import numpy as np
import pytest
from PIL import Image

from tfcodec.errors import InputError
from tfcodec.pictures import read
from tfcodec.training import records
from tfcodec.training.pictures import Pictures, find


def _picture(seed, side=32):
    return np.random.default_rng(seed).integers(0, 256, [side, 40, 3], dtype=np.uint8)


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def _write(path, examples):
    """A TFRecord file by TensorFlow's own writer."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for features in examples:
            example = tf.train.Example()
            for key, value in features.items():
                if isinstance(value, bytes):
                    example.features.feature[key].bytes_list.value.append(value)
                else:
                    example.features.feature[key].int64_list.value.append(value)
            writer.write(example.SerializeToString())


@pytest.fixture
def shards(tmp_path):
    """Two shards with three pictures, their key of either name, among other features."""
    key = records.KEYS
    _write(
        tmp_path / "set.tfrecord-00000-of-00002",
        [
            {key[0]: _png(_picture(0)), "label": 7, "image/format": b"png"},
            {key[1]: _png(_picture(1)), "width": 2**40},
        ],
    )
    _write(tmp_path / "set.tfrecord-00001-of-00002", [{key[0]: _png(_picture(2))}])
    return tmp_path


def test_pictures_of_tfrecord_files_are_read_in_any_order(shards):
    for pattern in (str(shards), f"{shards}/*.tfrecord-*"):
        pictures = Pictures(find(pattern), 32)
        assert len(pictures) == 3
        for k in (2, 0, 1):
            np.testing.assert_array_equal(pictures[k], _picture(k))


def test_files_and_records_are_mixed_and_held_out_alike(shards):
    Image.fromarray(_picture(5)).save(shards / "a.png")
    found = find(f"{shards},{shards}/a.png")
    assert len(found) == 4 and found[0] == str(shards / "a.png")
    held_out = set(find(f"{shards}/*-00001-of-00002"))
    assert len([source for source in found if source not in held_out]) == 3


def test_a_record_without_a_picture_or_with_a_small_one_is_left_out(shards):
    broken = shards / "more.tfrecord"
    small = _png(_picture(3, side=16))
    _write(broken, [{"label": 1}, {"image": small}, {"image": b"no picture"}, {"image": 5}])
    pictures = Pictures(find(str(broken)) + find(f"{shards}/*00000-of*"), 32)
    np.testing.assert_array_equal(pictures[0], _picture(0))
    np.testing.assert_array_equal(pictures[3], _picture(0))
    assert pictures.failed == {0, 1, 2, 3}


def test_a_file_that_is_no_tfrecord_is_named_and_a_cut_one_is_used_as_far_as_it_goes(
    shards, monkeypatch
):
    whole = (shards / "set.tfrecord-00000-of-00002").read_bytes()
    (shards / "zip.tfrecord").write_bytes(gzip.compress(whole))
    with pytest.raises(InputError, match="zip.tfrecord: not an uncompressed TFRecord file"):
        find(f"{shards}/zip.tfrecord")
    notices = []
    monkeypatch.setattr(records.logging, "warning", lambda text, *v: notices.append(text % v))
    for cut in (1, 20, len(whole) // 2 - 20):
        (shards / "cut.tfrecord").write_bytes(whole[:-cut])
        assert len(find(f"{shards}/cut.tfrecord")) == 1
    assert notices[-1].endswith("cut.tfrecord ends within a record; 1 are whole")


def test_hostile_records_raise_what_is_caught(tmp_path):
    rng = np.random.default_rng(0)
    _write(tmp_path / "a.tfrecord", [{"image": _png(_picture(0))}])
    (record,) = records.index(str(tmp_path / "a.tfrecord"))
    content = (tmp_path / "a.tfrecord").read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        damaged[record.offset + int(rng.integers(40))] = int(rng.integers(256))
        (tmp_path / "a.tfrecord").write_bytes(damaged)
        try:
            assert isinstance(record.picture(), bytes)
        except ValueError as error:
            assert "record" in str(error)


def test_a_data_set_of_tensorflow_datasets_is_found_by_name(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets", reason="the extra `tfds` is not installed")
    import tensorflow as tf

    features = tfds.features.FeaturesDict(
        {
            "photo": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.Scalar(np.int64),
        }
    )

    def examples(first, last):
        values = {"photo": np.stack([_picture(k) for k in range(first, last)])}
        return tf.data.Dataset.from_tensor_slices({**values, "label": np.arange(first, last)})

    tfds.dataset_builders.store_as_tfds_dataset(
        name="made",
        version="1.0.0",
        features=features,
        split_datasets={"train": examples(0, 6), "test": examples(6, 8)},
        data_dir=str(tmp_path),
        disable_shuffling=True,
    )
    tfds.core.add_data_dir(str(tmp_path))

    def pixels(name):
        pictures = Pictures(find(name), 32)
        return sorted(pictures[k].tobytes() for k in range(len(pictures)))

    def made(*seeds):
        return sorted(_picture(k).tobytes() for k in seeds)

    assert pixels("tfds:made") == made(*range(6))
    assert pixels("tfds:made:1.0.0") == made(*range(6))
    assert pixels("tfds:made:test") == made(6, 7)
    part = pixels("tfds:made:train[:50%]")
    assert len(part) == 3 and set(part) < set(made(*range(6)))
    with pytest.raises(InputError, match="^tfds:made:nowhere: "):
        find("tfds:made:nowhere")
    with pytest.raises(InputError, match="^tfds:not_there_at_all: "):
        find("tfds:not_there_at_all")


def test_a_record_is_read_as_encode_reads_a_file(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    _write(tmp_path / "a.tfrecord", [{"image": (tmp_path / "ramp.png").read_bytes()}])
    found = Pictures(find(str(tmp_path / "a.tfrecord")), 32)[0]
    np.testing.assert_array_equal(found, read(tmp_path / "ramp.png").rgb)

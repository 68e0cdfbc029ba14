import json

import numpy as np
import pytest

from tfcodec.errors import InputError
from tfcodec.training import checkpoint

ARRAYS = {"a/b": np.arange(6.0).reshape(2, 3), "c": np.int32(7), "large": np.zeros(3 << 20)}


def test_arrays_come_back_bit_for_bit_in_pieces_of_bounded_size(tmp_path):
    checkpoint.write(str(tmp_path / "step-1"), ARRAYS, {"step": 1})
    arrays, state = checkpoint.read(str(tmp_path / "step-1"))
    assert state == {"step": 1} and arrays.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], value)
    many = {f"v{k}": np.zeros(1 << 20, np.float32) for k in range(9)}
    checkpoint.write(str(tmp_path / "many"), many)
    sizes = [path.stat().st_size for path in (tmp_path / "many").iterdir()]
    assert len(sizes) == 3 and max(sizes) <= checkpoint.PIECE_BYTES


def test_writing_replaces_what_is_there_and_leaves_nothing_beside_it(tmp_path):
    for step in (1, 2):
        checkpoint.write(str(tmp_path / "step-x"), ARRAYS, {"step": step})
    assert checkpoint.read(str(tmp_path / "step-x"))[1] == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["step-x"]


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        ("piece-00.npz", _truncate, "piece-00.npz is damaged"),
        ("piece-01.npz", _flip, "CRC-32 are not those written"),
        ("piece-01.npz", lambda path: path.unlink(), "piece-01.npz is missing"),
        ("state.json", lambda path: path.unlink(), "state.json is missing"),
        ("state.json", _truncate, "state.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_taken(
    tmp_path, name, damage, sentence
):
    for step in (1, 2):
        checkpoint.write(str(tmp_path / f"step-{step}"), ARRAYS, {"step": step})
    assert checkpoint.newest(str(tmp_path))[2] == {"step": 2}
    damage(tmp_path / "step-2" / name)
    with pytest.raises(InputError, match=sentence):
        checkpoint.read(str(tmp_path / "step-2"))
    path, _, state = checkpoint.newest(str(tmp_path))
    assert path == str(tmp_path / "step-1") and state == {"step": 1}


def test_a_checkpoint_half_written_or_half_removed_is_not_seen(tmp_path):
    (tmp_path / "step-00000002.partial").mkdir()
    (tmp_path / "step-00000001.removed.partial").mkdir()
    assert checkpoint.listed(str(tmp_path)) == []
    assert checkpoint.newest(str(tmp_path / "missing")) is None


def test_checkpoints_of_before_the_list_of_files_are_read(tmp_path):
    checkpoint.write(str(tmp_path / "step-1"), ARRAYS)
    (tmp_path / "step-1" / "state.json").write_text(json.dumps({"step": 1, "settings": {}}))
    arrays, state = checkpoint.read(str(tmp_path / "step-1"))
    assert arrays.keys() == ARRAYS.keys() and state["step"] == 1

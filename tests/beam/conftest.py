"""A folder with a tiny model."""

import pytest
import tiny_exports

from tfcodec import codec


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory with the model `models/tiny` installed."""
    monkeypatch.chdir(tmp_path)
    tiny_exports.tiny_export(tmp_path / "models" / "tiny", "quad", "small")
    monkeypatch.setenv("TFCODEC_MODELS", str(tmp_path / "models"))
    codec._open.cache_clear()  # of the model of this name in another test's folder
    return tmp_path

"""A folder with a tiny model."""

import pytest
import tiny_exports


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory with the model `models/tiny` installed."""
    monkeypatch.chdir(tmp_path)
    tiny_exports.tiny_export(tmp_path / "models" / "tiny", "quad", "small")
    monkeypatch.setenv("TFCODEC_MODELS", str(tmp_path / "models"))
    return tmp_path

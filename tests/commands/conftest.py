"""A command line in an empty folder, with installed models and a codec without networks."""

import pytest
from standin import StandIn, install

from tfcodec.commands import main as cli


@pytest.fixture
def codec(monkeypatch):
    codec = StandIn()
    monkeypatch.setattr("tfcodec.commands.encode.load_codec", codec.load)
    monkeypatch.setattr("tfcodec.commands.decode.load_codec", codec.load)
    return codec


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    point = {"quality": 5, "bpp": 0.5, "psnr": 33.333, "ms_ssim": 0.97654}
    install(folder, "standin", default=True, measured=[point])
    install(folder, "fixed", bytes(4), qualities=None)
    monkeypatch.setenv("TFCODEC_MODELS", str(folder))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, so that tests may speak of plain file names."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def tfcodec(capsys, codec, here):
    """Runs a command line; returns (status, stdout, stderr)."""

    def tfcodec(*argv):
        status = cli.main(
            ["encode", "--model", "standin", *argv[1:]] if argv[0] == "encode" else [*argv]
        )
        return status, *capsys.readouterr()

    return tfcodec

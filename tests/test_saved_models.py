"""What is shipped: every model codes a photograph, and its card says what was measured of it."""

import pathlib

import numpy as np
import pytest

from tfcodec import codec, metrics, pictures
from tfcodec.coding import container
from tfcodec.exports import installed

ROOT = pathlib.Path(__file__).parents[1]
SHIPPED = sorted(path.parent for path in (ROOT / "saved_models").glob("*/config.json"))


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_model_codes_a_photograph(folder):
    shipped = codec.Codec(installed.read_info(str(folder)))
    photograph = pictures.read(str(ROOT / "examples/kodim23.png")).rgb[100:356, 200:500]
    sizes, quality = [], []
    for q in (2, 7):
        encoded = shipped.encode(pictures.from_array(photograph), q)
        decoded = shipped.decode(container.unpack(encoded.data)).rgb
        np.testing.assert_array_equal(decoded, encoded.reconstruction().rgb)
        sizes.append(len(encoded.data))
        quality.append(metrics.psnr(photograph, decoded))
    assert quality[0] > 26 and quality[1] > quality[0] + 2
    assert sizes[0] < sizes[1] < photograph.size / 8


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_card_tells_what_was_measured(folder):
    info, card = installed.read_info(str(folder)), (folder / "card.md").read_text()
    assert len(info.config["measured"]) == 8 and info.config["fingerprint"] in card
    for point in info.config["measured"]:
        row = f"| {point['quality']:g} | {point['bpp']:.3f} | {point['psnr']:.2f} |"
        assert row in card, f"{folder.name}: {row}"
    sections = ("| training |", "| hardware |", "| commit |", "| portable |", "## Data")
    assert all(section in card for section in sections)

"""Writes what `tfcodec evaluate` measured of the bundled models into their cards and config.json.

python docs/make_cards.py docs/kodak.json

Replaces the section "Measured on Kodak" of each card.md and `measured` of each config.json.
"""

import json
import pathlib
import sys

from tfcodec.exports import write

ROOT = pathlib.Path(__file__).resolve().parent.parent
TITLES = {
    "jpeg": "JPEG (Pillow, optimised, 4:2:0)",
    "webp": "WebP (method 6)",
    "avif": "AVIF (speed 6)",
    "bpg": "BPG 4:4:4 (as published)",
    "vtm": "VTM-9.1 (as published)",
    "bmshj2018-hyperprior-msssim": "bmshj2018-hyperprior for MS-SSIM (CompressAI, as published)",
    "cheng2020-attn-msssim": "cheng2020-attn for MS-SSIM (CompressAI, as published)",
}


def section(name, evaluation):
    """The section's text, of one codec in an `evaluation.json`."""
    codec = evaluation["codecs"][name]
    text = (
        f"## Measured on Kodak\n\n{evaluation['kodak_pictures']} images, real files, decoded in a "
        "second process; bpp from the size of the file; PSNR over RGB in dB\nand MS-SSIM (linear), "
        f"means over the images. Weights {codec['version']}. Made by\n\n"
        f"    tfcodec evaluate kodak/*.png --models {name} --output_dir runs/kodak --against "
        "jpeg,webp,avif,bpg,vtm\n\n| quality | bpp | PSNR, dB | MS-SSIM |\n|---|---|---|---|\n"
    )
    for point in codec["measured"]:
        text += (
            f"| {point['quality']:g} | {point['bpp']:.3f} | {point['psnr']:.2f} "
            f"| {point['ms_ssim']:.4f} |\n"
        )
    laws = codec["laws"]
    text += (
        f"\n{laws['files'] - laws['other_pixels']} of {laws['files']} files decode to exactly the "
        f"encoder's pixels; all files together are {laws['total_excess_percent']:+.2f} % over\nthe "
        "model's estimate.\n\n"
    )
    rates = [r for r in evaluation["bd_rates"] if r["model"] == name and r["against"] in TITLES]
    for measure, words in (("psnr", "PSNR"), ("ms_ssim", "MS-SSIM in dB")):
        # Against models that were trained for MS-SSIM, that alone says something.
        found = [
            f"{TITLES[rate['against']]} {rate[measure]['percent']:+.1f} %"
            for rate in rates
            if rate[measure] and (measure == "ms_ssim" or "msssim" not in rate["against"])
        ]
        text += f"BD-rate ({words}; negative saves bits): {'; '.join(found)}.\n\n"
    return text


def main(path):
    evaluation = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    for folder in sorted((ROOT / "saved_models").iterdir()):
        if folder.name not in evaluation["codecs"]:
            continue
        codec = evaluation["codecs"][folder.name]
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if codec["version"] != config["fingerprint"]:
            sys.exit(f"{folder.name}: {path} is of weights {codec['version']}, not of these")
        config["measured"] = codec["measured"]
        write.write_config(str(folder), config)
        card = (folder / "card.md").read_text(encoding="utf-8")
        before, after = card.split("## Measured on Kodak\n")
        card = before + section(folder.name, evaluation) + after[after.index("## ") :]
        (folder / "card.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])

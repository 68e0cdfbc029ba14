"""A wavelet convolution in an existing codec: mbt2018_mean with `WeConv` in place of each GDN.

    python examples/weconv_mbt2018_mean.py --wavelet 9/7

Builds both codecs and prints their parameters and multiply-accumulates. With a
`Config` and `PRESETS` beside its `build`, `train_tf.py --model my_package.my_model` trains one.
"""

import argparse

from tfcodec import complexity, models
from tfcodec.models import mbt2018_mean, starts
from tfcodec.models.base import CodecModel
from tfcodec.models.transforms import ShortcutAnalysis, ShortcutSynthesis


def build(cfg, wavelet, name="mbt2018_weconv"):
    """mbt2018_mean of a `CompactConfig`, convolving in a wavelet's domain."""
    return CodecModel(
        ShortcutAnalysis(cfg.widths, cfg.latents, wavelet=wavelet, name="analysis"),
        ShortcutSynthesis(cfg.widths, wavelet=wavelet, name="synthesis"),
        mbt2018_mean.compact_hyperprior(cfg.filters, cfg.latents),
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=starts.principal,
        name=name,
    )


def main(argv=None):
    """Prints one line for each of the two codecs."""
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("--wavelet", default="haar", help="haar, 5/3 or 9/7")
    args = flags.parse_args(argv)
    cfg = models.config("mbt2018_mean", "compact")
    for model in (mbt2018_mean.build(cfg), build(cfg, args.wavelet)):
        model.build_weights()
        macs = complexity.macs_per_pixel(model)
        print(
            f"{model.name:15} {model.count_params():9,} parameters, kMAC a pixel: "
            f"encoder {macs['encoder'] / 1000:.1f}, decoder {macs['decoder'] / 1000:.1f}"
        )


if __name__ == "__main__":
    main()

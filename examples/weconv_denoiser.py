"""A wavelet convolution in a network that is no codec: a small residual denoiser.

    python examples/weconv_denoiser.py --steps 300

Trains the same network twice on noisy crops of one photograph, with `Conv2D` and with `WeConv` as
its inner layer, and prints the PSNR of both on the same held-out crops.
"""

import argparse
import pathlib

import keras
import numpy as np

from tfcodec import pictures
from tfcodec.layers.weconv import WeConv

PICTURE = pathlib.Path(__file__).with_name("kodim23.png")
SIGMA = 25 / 255  # of the noise


def denoiser(inner, width=32, depth=3):
    """[B, H, W, 3] to the same without noise; inner(name) makes each of the `depth` layers."""
    x = noisy = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="first")(x)
    for k in range(depth):
        x = keras.layers.ReLU(name=f"relu{k}")(inner(f"inner{k}")(x)) + x
    last = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros", name="last")
    return keras.Model(noisy, noisy - last(x))


def crops(rgb, count, rng, size=48):
    """float32 [count, size, size, 3] in [0, 1]."""
    tops = rng.integers(0, rgb.shape[0] - size, count)
    lefts = rng.integers(0, rgb.shape[1] - size, count)
    cut = [rgb[t : t + size, s : s + size] for t, s in zip(tops, lefts, strict=True)]
    return np.float32(np.stack(cut)) / 255


def train(inner, steps, seed=0):
    """PSNR in dB on the right quarter of the picture after training on the rest."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    rgb = pictures.read(str(PICTURE)).rgb
    split = rgb.shape[1] * 3 // 4
    held_out = crops(rgb[:, split:], 16, rng)
    noisy = held_out + rng.normal(0, SIGMA, held_out.shape).astype(np.float32)
    model = denoiser(inner)
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    for _ in range(steps):
        clean = crops(rgb[:, :split], 8, rng)
        model.train_on_batch(clean + rng.normal(0, SIGMA, clean.shape).astype(np.float32), clean)
    error = np.clip(model.predict_on_batch(noisy), 0, 1) - held_out
    return model.count_params(), -10 * np.log10(np.mean(np.square(error)))


def main(argv=None):
    """Prints one line for each of the two networks."""
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("--steps", type=int, default=300)
    flags.add_argument("--wavelet", default="haar", help="haar, 5/3 or 9/7")
    args = flags.parse_args(argv)
    layers = {
        "Conv2D": lambda name: keras.layers.Conv2D(32, 3, padding="same", name=name),
        "WeConv": lambda name: WeConv(32, args.wavelet, norm="none", high_kernel=1, name=name),
    }
    for label, inner in layers.items():
        parameters, psnr = train(inner, args.steps)
        print(f"{label}  {parameters:6,} parameters  {psnr:.2f} dB PSNR")


if __name__ == "__main__":
    main()

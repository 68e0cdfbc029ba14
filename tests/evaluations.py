"""An evaluation for the tests of what is made of one."""

from tfcodec.evaluation import curves


def kodak_evaluation(pictures):
    """An evaluation of a model that needs exactly 10 % less than VTM."""
    vtm = curves.published()["vtm"]
    measured = [
        {"quality": k, "bpp": 0.9 * bpp, "psnr": psnr, "ms_ssim": ms_ssim}
        for k, (bpp, psnr, ms_ssim) in enumerate(vtm.points)
    ]
    codec = {
        "title": "ours",
        "kind": "model",
        "version": "0badcafe",
        "parameters": 7,
        "kmac_per_pixel": None,
        **{f"median_{way}_seconds": 1.0 for way in ("encode", "decode")},
        **{f"{way}_peak_mib": 1.0 for way in ("encode", "decode")},
        "laws": None,
        "measured": measured,
    }
    return {
        "machine": {"cores": 1, "processor": "a processor"},
        "pictures": [f"kodim{k:02d}" for k in range(1, pictures + 1)],
        "left_out": [],
        "kodak_pictures": pictures,
        "codecs": {"ours": codec},
        "points": [],
    }

"""Packaging only: pytest and ruff are set up in pyproject.toml."""

import pathlib

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = (HERE / "tfcodec" / "version.txt").read_text().strip()
# What it forgets to declare: it imports importlib_resources.
TFDS = ["tensorflow-datasets~=4.9.0", "importlib_resources>=6"]
# Coding needs LiteRT alone; training, exporting, serving and other models than the portable ones
# need these.
TENSORFLOW = [
    "tensorflow>=2.17,<2.22",
    "keras~=3.15",
    "absl-py>=2.0",
    "tensorboard>=2.17",  # of the curves of training; TensorFlow no longer brings it
]

setuptools.setup(
    name="tfcodec",
    version=VERSION,
    description="A learned image codec for TensorFlow and Keras 3",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    # The general names `models`, `saved_models` and `recipes` stay out of site-packages: they are
    # installed inside the package, and `from tfcodec.models import ...` works from a checkout, too.
    packages=[
        "tfcodec",
        "tfcodec.layers",
        "tfcodec.coding",
        "tfcodec.entropy",
        "tfcodec.entropy.latents",
        "tfcodec.exact",
        "tfcodec.exports",
        "tfcodec.pictures",
        "tfcodec.serving",
        "tfcodec.lite",
        "tfcodec.training",
        "tfcodec.evaluation",
        "tfcodec.beam",
        "tfcodec.commands",
        "tfcodec.models",
        "tfcodec.saved_models",
        "tfcodec.recipes",
    ],
    package_dir={
        "tfcodec": "tfcodec",
        "tfcodec.models": "models",
        "tfcodec.saved_models": "saved_models",
        "tfcodec.recipes": "recipes",
    },
    package_data={
        "tfcodec": ["py.typed", "version.txt", "data_files/*"],
        "tfcodec.recipes": ["*.flags"],
        "tfcodec.saved_models": ["*/*", "*/*/*", "*/*/*/*"],
    },
    install_requires=[
        "ai-edge-litert>=2.3",
        "ml_dtypes>=0.3",
        # Coder 1; from Python 3.13 on there is its source alone, which a compiler has to build.
        'range-coder~=1.1; python_version < "3.13"',
        "numpy>=1.26,<3",
        "pillow>=11",
    ],
    extras_require={
        "lite": [],  # what the package is without another extra, for who wants to say so
        "tf": TENSORFLOW,
        "gpu": [*TENSORFLOW, "tensorflow[and-cuda]>=2.17,<2.22"],
        "fast": ["numba>=0.61"],  # the range coder, compiled
        "tfc": [  # its first author's
            *TENSORFLOW,
            "tensorflow~=2.17.0",
            "tensorflow-compression-ops~=2.17.0",
        ],
        "eval": [*TENSORFLOW, "matplotlib>=3.8", "scipy>=1.11"],
        "serve": [*TENSORFLOW, "grpcio>=1.60", "tensorflow-serving-api>=2.17,<2.22"],
        "convert": [*TENSORFLOW, "torch>=2.6"],
        "tfds": [*TENSORFLOW, *TFDS],
        # It caps numpy, protobuf, pillow and pyarrow, and so stays out of the extra `test`.
        "beam": [*TENSORFLOW, "apache-beam>=2.77,<3"],
        "fuzz": [*TENSORFLOW, "atheris>=3"],
        "test": [
            *TENSORFLOW,
            "pytest>=8",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "ruff~=0.17.0",  # another version may format otherwise
            "scipy>=1.11",
            "scikit-image>=0.24",
            "grpcio>=1.60",
            "tensorflow-serving-api>=2.17,<2.22",
            "matplotlib>=3.8",
            "jax>=0.5",
            "numba>=0.61",
            *TFDS,
        ],
    },
    entry_points={"console_scripts": ["tfcodec = tfcodec.commands.main:run"]},
)

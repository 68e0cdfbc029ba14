"""Settings that must stand before TensorFlow is imported, and the order of the files."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TFCODEC_CACHE"] = ""  # each test proves what it loads

# The files that take longest, the longest first: a process that begins one of them last ends alone.
FIRST = (
    "serving/test_export.py",
    "test_freeze.py",
    "serving/test_hosts.py",
    "models/test_zoo.py",
    "training/test_trainer.py",
    "test_convert.py",
    "training/test_strategies.py",
    "training/test_backends.py",
    "evaluation/test_run.py",
    "exports/test_write.py",
    "serving/test_served_quad.py",
    "training/test_resume.py",
    "test_road.py",
)


def pytest_configure(config):
    config.option.loadscopereorder = False  # xdist would begin with the files of the most tests


def pytest_collection_modifyitems(items):
    def place(item):
        name = item.path.as_posix()
        return next((k for k, end in enumerate(FIRST) if name.endswith(f"tests/{end}")), len(FIRST))

    items.sort(key=place)

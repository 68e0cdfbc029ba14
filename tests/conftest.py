"""Settings that must stand before TensorFlow is imported."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TFCODEC_CACHE"] = ""  # each test proves what it loads

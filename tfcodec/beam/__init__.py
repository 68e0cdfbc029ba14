"""Beyond one machine: many pictures with Apache Beam, in this process or on a cluster.

    pipeline | OverFiles(Compress(quality=4), "gs://bucket/photos/**", "gs://bucket/small")
    pairs of (name, bytes) | Compress(quality=4)

    tasks      what is done to one picture      limits      how many at a time, how many threads
    storage    files anywhere                   inputs      files, TFRecord and tar, found
    containers pictures in TFRecord and tar     manifest    what was done, and what was done before
    work       a task as Beam's workers run it  transforms  the PTransforms

Outputs are the very bytes of the command line. Rules. May import: `codec`, exports, pictures, the
coding's container, `training.records`; Apache Beam in `storage` and above it, TensorFlow in a
worker alone and there with the first picture. Imported by its command alone. Never knows: a
scheduler, the command line.
"""

try:
    import apache_beam as _  # noqa: F401, to say what is missing
except ImportError as error:
    raise ImportError(
        f"tfcodec.beam needs Apache Beam ({error}): pip install 'tfcodec[beam]'"
    ) from None

from tfcodec.beam.transforms import Compress, Decompress, OverFiles, Verify

__all__ = ["Compress", "Decompress", "OverFiles", "Verify"]

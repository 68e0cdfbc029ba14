"""Training steps on TensorFlow, under any strategy of `tf.distribute`.

Every process computes the same plan and crops its own share of the global batch; each replica's
gradient is the mean over its share, and the gradient of the step is their mean. With shares of one
size that is the gradient of the global batch, whatever the number of replicas: terms that do not
depend on the batch count once. Each replica then computes the same update from the same numbers.
"""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfcodec.errors import InputError, TfcodecError
from tfcodec.layers import Tensor
from tfcodec.models.base import CodecModel
from tfcodec.training import crops, losses
from tfcodec.training.step import TrainingStep


@contextlib.contextmanager
def scope(strategy: str = "default", deterministic: bool = False) -> Iterator[None]:
    """Model, trainer and training belong inside the block.

    Args:
        strategy: "default" is one device; "mirrored" every GPU of this machine, or all (virtual)
            CPU devices where there is no GPU; "multiworker" every GPU of the machines that the
            variable TF_CONFIG names, one process a machine.
        deterministic: the same bits in every run on one kind of machine; slower on GPUs.
    Raises: InputError if TF_CONFIG is needed and missing or names no workers.
    """
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    if strategy == "default":
        yield
        return
    if strategy == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        chosen = tf.distribute.MirroredStrategy(devices)
    else:
        _check_cluster()
        chosen = tf.distribute.MultiWorkerMirroredStrategy()
    with chosen.scope():
        yield


def _check_cluster():
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        known = config["cluster"]["worker"] and config["task"]["type"] in config["cluster"]
        config["cluster"][config["task"]["type"]][config["task"]["index"]]
    except (KeyError, ValueError, TypeError, IndexError):
        known = False
    if not known:
        raise InputError(
            "--strategy=multiworker needs the variable TF_CONFIG, such as "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
            '"task": {"type": "worker", "index": 0}}'
        )


def device() -> str:
    """What the steps are computed on, in words."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return f"CPU with {os.cpu_count()} cores"
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return name if len(gpus) == 1 else f"{len(gpus)} x {name}"


def host() -> contextlib.AbstractContextManager:
    """Where models are built and started: here, wherever TensorFlow places them."""
    return contextlib.nullcontext()


class Steps:
    """A compiled `TrainingStep` under the strategy in whose scope this is made.

    Attributes:
        chief: this process reads and writes the run's files.
        replicas: of all processes together.
    """

    steps_per_dispatch = 1

    def __init__(self, step: TrainingStep, pictures: Sequence[np.ndarray]):
        self.step, self.pictures = step, pictures
        self.strategy = tf.distribute.get_strategy()
        self.replicas = self.strategy.num_replicas_in_sync
        batch_size = step.settings.batch_size
        if batch_size % self.replicas:
            raise InputError(
                f"--batch_size is that of all {self.replicas} replicas together and must be a "
                f"multiple of their number, received {batch_size}"
            )
        cluster = getattr(self.strategy, "cluster_resolver", None)
        spec = cluster.cluster_spec().as_dict() if cluster is not None else {}
        self.workers = sum(len(spec.get(job, ())) for job in ("chief", "worker")) or 1
        self.chief = self.workers == 1 or (cluster.task_type, cluster.task_id) == (
            "chief" if "chief" in spec else "worker",
            0,
        )
        self.ids = [int(i) for i in self._local(self._values(self._replica_id))]
        self._stop = False
        self._compiled = tf.function(self._global_step)

    def make(self, first: int, last: int) -> list[dict[str, np.ndarray]]:
        """This process' share of the batch of step `first`: one dictionary a replica."""
        plan, size = self.step.plan(first), self.step.settings.crop
        share = self.step.settings.batch_size // self.replicas
        batches = []
        for replica in self.ids:
            part = {k: v[replica * share : (replica + 1) * share] for k, v in plan.items()}
            x = crops.cut(self.pictures, part, size)
            batches.append({"x": x, "rung": part["rung"], "keys": part["key"]})
        return batches

    def dispatch(
        self, batches: list[dict[str, np.ndarray]], progress: np.ndarray
    ) -> dict[str, Tensor]:
        """Computes a step on a result of `make`; returns its metrics, tensors.

        Args: progress: [1], the share of the run that is over, as this process has it.
        """
        word = np.float32([self._stop, progress[0]])
        batch = self._values(
            lambda replica: {
                **{k: tf.constant(v) for k, v in batches[self.ids.index(replica)].items()},
                "word": tf.constant(word),
            }
        )
        with _alive(self.workers):
            measured = self._compiled(batch)
        self._agreed = measured.pop("word")
        return measured

    def agreed(self, stop: bool, measured: dict[str, Tensor]) -> bool:
        """Whether every process stops after this step: at the next, once one of them asks."""
        self._stop = stop
        return stop if self.workers == 1 else float(self._agreed[0]) > 0

    def ended(self, progress: float) -> bool:
        """Whether the step just dispatched has seen the end of the run, on every clock."""
        return (progress if self.workers == 1 else float(self._agreed[1])) >= 1

    def synchronise(self, number: int) -> int:
        """The number of the chief's step; its variables go to every replica."""
        if self.workers == 1:
            return number
        with _alive(self.workers):
            number, counts = self._from_chief(tf.constant(number), tf.constant(self.step.count))
        counts = counts.numpy()
        if np.any(counts != counts[0]):
            found = sorted({int(count) for count in counts})
            raise InputError(f"the processes found different numbers of pictures: {found}")
        return int(number)

    @tf.function
    def _from_chief(self, number, count):
        """(number of the chief's step, `count` of every replica); also assigns the chief's
        variables."""
        step = self.step
        variables = [*step.model.variables, *step.optimizer.variables, *step.tally]
        variables = [v.value for v in variables]

        def replica():
            context = tf.distribute.get_replica_context()
            replica = context.replica_id_in_sync_group
            values = [number, *(tf.convert_to_tensor(v) for v in variables)]
            # A sum of one number and zeros: exact, and known to every kind of collective.
            values = [tf.where(replica == 0, v, tf.zeros_like(v)) for v in values]
            values.append(tf.one_hot(replica, self.replicas, count, 0))
            for dtype in (tf.int32, tf.float32):  # a collective packs tensors of one type
                chosen = [k for k, v in enumerate(values) if v.dtype == dtype]
                summed = context.all_reduce(tf.distribute.ReduceOp.SUM, [values[k] for k in chosen])
                for k, value in zip(chosen, summed, strict=True):
                    values[k] = value
            return values

        number, *values, counts = self.strategy.run(replica)
        self._assign(variables, values)
        return self._local(number)[0], self._local(counts)[0]

    def _global_step(self, batch):
        measured, values = self.strategy.run(self._replica_step, args=(batch,))
        self._assign([v.value for v in self.step.variables], values)
        return {name: self._local(value)[0] for name, value in measured.items()}

    def _replica_step(self, batch):
        step = self.step
        weights = step.model.trainable_variables
        state = [tf.convert_to_tensor(v.value) for v in step.variables]
        word = tf.identity(batch["word"])  # a collective needs a device, inputs have none
        if self.workers > 1:  # each has a clock of its own
            context = tf.distribute.get_replica_context()
            word = context.all_reduce(tf.distribute.ReduceOp.MEAN, word)
        progress = word[1]
        with tf.GradientTape() as tape:
            objective, measured = step.objective(batch["x"], batch["rung"], batch["keys"], progress)
        gradients = [
            tf.zeros_like(value) if gradient is None else gradient
            for gradient, value in zip(tape.gradient(objective, weights), state, strict=False)
        ]
        if self.replicas > 1:
            context = tf.distribute.get_replica_context()
            objective, measured, gradients = context.all_reduce(
                tf.distribute.ReduceOp.MEAN, (objective, measured, gradients)
            )
            measured["psnr"] = losses.psnr(measured["mse"])  # no mean of logarithms
        values, update = step.update(state, objective, gradients, progress)
        return {**measured, **update, "word": word}, values

    def _assign(self, variables, values):
        """Gives every replica's copy of each variable the value that the replica computed."""
        for variable, value in zip(variables, values, strict=True):
            self.strategy.extended.update(
                variable, lambda copy, new: copy.assign(new), args=(value,), group=False
            )

    def _values(self, make):
        """make(number of the replica) for each replica of this process."""
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: make(context.replica_id_in_sync_group)
        )

    def _replica_id(self, replica):
        return tf.constant(replica)

    def _local(self, value):
        return self.strategy.experimental_local_results(value)


@contextlib.contextmanager
def _alive(workers):
    """Turns the end of another process into a sentence."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
        if workers == 1:
            raise
        raise TfcodecError(
            "another worker stopped answering; start all of them again, the run continues from its "
            "newest checkpoint"
        ) from error


@functools.lru_cache(maxsize=1)
def forward(model: CodecModel) -> Callable:
    """The forward pass of evaluation; kept, because validation comes again and again."""
    return tf.function(lambda x, rung: model(x, rung), reduce_retracing=True)


def events(run_dir: str) -> Callable[[int, dict], None]:
    """A function of (step, {name: number or uint8 [n, h, w, 3]}) that writes event files."""
    writer = tf.summary.create_file_writer(run_dir)

    def write(step, values):
        with writer.as_default(step):
            for name, value in values.items():
                if np.ndim(value) == 4:
                    tf.summary.image(name, value, max_outputs=len(value))
                else:
                    tf.summary.scalar(name, value)
        writer.flush()

    return write

"""What is wrong with a request, as a sentence: a graph cannot raise."""

from collections.abc import Callable

import tensorflow as tf


class Faults:
    """Keeps the first fault as a sentence in `error`, a string scalar, empty if there is none."""

    def __init__(self, error: str | tf.Tensor = ""):
        self.error = tf.convert_to_tensor(error)

    def check(self, sound: tf.Tensor, *sentence: str | tf.Tensor) -> None:
        """Notes the sentence, strings and integer tensors, unless `sound` or a fault was before."""
        words = [w if isinstance(w, str) else tf.strings.as_string(w) for w in sentence]
        fault = tf.equal(self.error, "") & ~sound
        self.error = tf.where(fault, tf.strings.join(words), self.error)

    def go_on(
        self, function: Callable[[], tuple[tf.Tensor, tf.Tensor]]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(result, error) of `function`, which runs only without a fault; else ("", the fault)."""
        error = self.error
        return tf.cond(tf.equal(error, ""), function, lambda: (tf.constant(""), error))

"""What is wrong with a request, as a sentence: a graph cannot raise."""

import tensorflow as tf


class Faults:
    """Keeps the first fault as a sentence in `error`, a string scalar, empty if there is none."""

    def __init__(self, error=""):
        self.error = tf.convert_to_tensor(error)

    def check(self, sound, *sentence):
        """Notes the sentence, strings and integer tensors, unless `sound` or a fault was before."""
        words = [w if isinstance(w, str) else tf.strings.as_string(w) for w in sentence]
        fault = tf.equal(self.error, "") & ~sound
        self.error = tf.where(fault, tf.strings.join(words), self.error)

    def go_on(self, function):
        """(result, error) of `function`, which runs only without a fault; else ("", the fault)."""
        error = self.error
        return tf.cond(tf.equal(error, ""), function, lambda: (tf.constant(""), error))

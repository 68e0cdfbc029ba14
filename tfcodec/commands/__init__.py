"""The command line: a file a command, each with `add(commands)`, its flags, and what it does.

    main        the console entry      arguments   what command lines share
    console     what is said, and to whom

Rules. May import every room; nobody imports this one but the scripts `encode_decode.py` and
`train_tf.py`, and the console entry. What needs TensorFlow is imported when it is first needed.
Never knows: how anything is done.
"""

"""Trains a model from a checkout: the same as the installed command `tfcodec train`."""

from tfcodec.commands.main import run

if __name__ == "__main__":
    run("train")

"""Encode and decode pictures from a checkout: the same as the installed command `tfcodec`."""

from tfcodec.commands.main import run

if __name__ == "__main__":
    run()

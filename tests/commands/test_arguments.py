"""Wrong command lines are status 2, with a sentence."""

import pytest
from standin import listing, photograph

from tfcodec.commands import main as cli


class TestWrongCommandLines:
    """Refused with status 2 before any work."""

    @pytest.mark.parametrize(
        "argv, words",
        [
            ((), "required"),
            (("transmogrify",), "invalid choice"),
            (("encode",), "required: IN"),
            (("encode", "a.png", "--quality", "0.9"), "from 1 (smallest file) to 8 (best)"),
            (("encode", "a.png", "--quality", "8.1"), "from 1 (smallest file) to 8 (best)"),
            (("encode", "a.png", "--quality", "nan"), "from 1 (smallest file) to 8 (best)"),
            (("encode", "a.png", "--quality", "high"), "must be a number, received 'high'"),
            (("encode", "a.png", "--bpp", "0"), "more than 0, received 0"),
            (("encode", "a.png", "--bpp", "inf"), "must be finite, received inf"),
            (("encode", "a.png", "--target_bytes", "1.5"), "must be a whole number"),
            (("encode", "a.png", "--target_bytes", "-3"), "more than 0, received -3"),
            (("encode", "a.png", "--max_pixels", "0"), "more than 0"),
            (("encode", "a.png", "--bpp", "1", "--quality", "3"), "not allowed with"),
            (("encode", "a.png", "--target_bytes", "9", "--bpp", "3"), "not allowed with"),
            (("encode", "a.png", "--coder", "huffman"), "invalid choice: 'huffman'"),
            (("encode", "a.png", "-o", "k", "--output_dir", "d"), "not allowed with"),
            (("encode", "a.png", "b.png", "-o", "k.tfcd"), "-o takes one input, received 2"),
            (("encode", "a.png", "b.png", "--reconstruction", "r.png"), "takes one input"),
            (("decode", "a.tfcd", "b.tfcd", "-o", "k.png"), "-o takes one input, received 2"),
            (("encode", "d/a.png", "a.jpg", "--output_dir", "."), "an output of d/a.png, too"),
            (("encode", "a.png", "./a.png"), "is an output of a.png, too"),
            (("encode", "a.png", "a.jpg"), "a.tfcd, an output of a.jpg, is an output of a.png"),
            (("encode", "a.png", "-o", "x.PNG"), "-o names a .tfcd file, received x.PNG"),
            (("encode", "a.png", "-o", "a.png"), "-o names a .tfcd file, received a.png"),
            (("encode", "a.png", "--reconstruction", "-"), "--reconstruction names a file"),
            (("encode", "-", "-"), "stdin can be read once"),
            (("encode", "-", "--output_dir", "d"), "what comes from stdin has no name"),
            (("encode", "d", "-o", "k.tfcd"), "-o takes one input, d is a folder"),
            (("encode", "d", "--reconstruction", "r.png"), "takes one input, d is a folder"),
            (("encode", "d", "d/a.png", "--output_dir", "o"), "is an output of d/a.png, too"),
            (("decode", "a.tfcd", "-o", "b.png", "--format", "jpg"), "-o names the format"),
            (("decode", "a.tfcd", "--overwrite", "--skip_existing"), "not allowed with"),
            (("encode", "a.png", "--q", "3"), "--q 3; did you mean --quality?"),
            (("encode", "a.png", "--qualty=3"), "--qualty=3; did you mean --quality?"),
            (("encode", "a.png", "--lossless"), "unrecognized arguments: --lossless"),
            (("encode", "a.tfcd"), "is an input, too"),
            (("decode", "b.png", "-o", "d/../b.png", "--overwrite"), "is an input, too"),
            (("encode", "a.png", "--reconstruction", "a.png"), "is an input, too"),
            (("encode", "a.png", "-o", "k", "--reconstruction", "k"), "k, an output of a.png"),
            (("decode", "b.tfcd.png", "b.tfcd"), "is an input, too"),
        ],
    )
    def test_is_refused(self, codec, here, capsys, argv, words):
        (here / "d").mkdir()
        for name in ("a.png", "b.png", "d/a.png", "a.jpg"):
            photograph(name)
        before = listing()
        assert cli.main(list(argv)) == 2
        out, err = capsys.readouterr()
        assert words in err.splitlines()[-1] and out == ""
        command = [word for word in argv[:1] if word != "transmogrify"]
        assert err.startswith(" ".join(["usage: tfcodec", *command]))
        assert codec.loads == 0 and listing() == before

    @pytest.mark.parametrize("argv", [["--help"], ["encode", "-h"], ["--version"]])
    def test_help_is_no_failure(self, argv, capsys):
        assert cli.main(argv) == 0
        assert capsys.readouterr().out

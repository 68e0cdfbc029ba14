"""Laws of the embedded alpha, of sound bytes and of hostile ones."""

import io
import zlib

import pytest
from drawn import HEIGHT, WIDTH, png_file, png_header
from PIL import Image, ImageDraw, PngImagePlugin

from tfcodec import pictures
from tfcodec.errors import ContainerError


class TestHostileAlpha:
    """`alpha_from_png` on bytes that a file may claim to be its alpha."""

    def refuse(self, data, height=HEIGHT, width=WIDTH):
        with pytest.raises(ContainerError) as caught:
            pictures.alpha_from_png(data, height, width, "k.tfcd")
        assert str(caught.value).startswith("k.tfcd: the alpha part ")
        return str(caught.value)

    def test_every_truncation(self, alpha):
        data = pictures.alpha_to_png(alpha)
        for size in range(len(data)):
            self.refuse(data[:size])

    def test_appended_bytes(self, alpha):
        assert "followed by 3 unexpected bytes" in self.refuse(
            pictures.alpha_to_png(alpha) + b"abc"
        )

    def test_every_flipped_byte(self, alpha):
        data = pictures.alpha_to_png(alpha)
        for at in range(len(data)):
            self.refuse(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])

    def test_another_size(self, alpha):
        data = pictures.alpha_to_png(alpha)
        assert "not an 8-bit gray PNG of 32x19" in self.refuse(data, HEIGHT, WIDTH + 1)
        self.refuse(data, WIDTH, HEIGHT)

    def test_other_kinds_of_png(self, rgb):
        for mode in ("RGB", "1", "P", "LA", "I;16"):
            buffer = io.BytesIO()
            Image.fromarray(rgb).convert("L").convert(mode).save(buffer, "PNG")
            self.refuse(buffer.getvalue())

    @pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP"])
    def test_other_formats(self, alpha, kind):
        buffer = io.BytesIO()
        Image.fromarray(alpha).save(buffer, kind)
        assert "is not a PNG" in self.refuse(buffer.getvalue())

    def test_text_that_would_unfold_to_much_more(self, alpha):
        info = PngImagePlugin.PngInfo()
        info.add_text("bomb", "0" * 10_000_000, zip=True)
        buffer = io.BytesIO()
        Image.fromarray(alpha).save(buffer, "PNG", pnginfo=info)
        assert "unexpected chunk b'zTXt'" in self.refuse(buffer.getvalue())

    def test_an_animation(self, alpha):
        buffer = io.BytesIO()
        frame = Image.fromarray(alpha)
        other = frame.copy()
        ImageDraw.Draw(other).line((0, 0, 9, 9), fill=7)
        frame.save(buffer, "PNG", save_all=True, append_images=[other])
        assert "unexpected chunk" in self.refuse(buffer.getvalue())

    def test_pixels_that_do_not_inflate_or_are_missing(self):
        header = png_header(WIDTH, HEIGHT, 8, 0)
        whole = zlib.compress(bytes((WIDTH + 1) * HEIGHT))
        few = zlib.compress(bytes(WIDTH))
        for pixels in ([b"garbage"], [few], [whole[:9]], [], [b""]):
            parts = [(b"IHDR", header), *((b"IDAT", body) for body in pixels)]
            self.refuse(png_file(*parts))

    def test_two_headers(self, alpha):
        data = pictures.alpha_to_png(alpha)
        assert "unexpected chunk b'IHDR'" in self.refuse(data[:33] + data[8:])

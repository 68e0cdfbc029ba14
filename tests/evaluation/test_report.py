"""Laws of the HTML report: its size, what it holds, and what a real browser makes of it."""

import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from evaluations import kodak_evaluation
from PIL import Image

from tfcodec.evaluation import comparison, curves, report

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "chrome"])), None)


def picture(seed, height=128, width=192):
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width)[None, :, None] * np.ones([height, 1, 3])
    return (ramp + rng.integers(0, 50, ramp.shape)).astype(np.uint8)


def album(folder, count=2, limit=report.MAX_BYTES, size=(128, 192)):
    """(Album, originals, what the model "decodes"): beside the model a JPEG file."""
    made, originals, decoded = report.Album(limit), [], []
    for k in range(count):
        original = picture(k, *size)
        shown = np.clip(original.astype(int) + k + 2, 0, 255).astype(np.uint8)
        file = folder / f"{k}.jpg"
        Image.fromarray(original).save(file, quality=30)
        point = {"bpp": 0.25, "psnr": 31.5, "ms_ssim": None}
        versions = [
            ("ours", point, folder / f"{k}.tfcd", lambda shown=shown: shown),
            ("JPEG", point, file, None),
        ]
        made.add(f"picture <{k}>", original, versions)
        originals.append(original)
        decoded.append(shown)
    return made, originals, decoded


def make_page(made, count, notices=None):
    evaluation = kodak_evaluation(24)
    own = curves.from_evaluation(evaluation)
    compared = comparison.compare(evaluation, own, ["vtm"], print)
    notice = (notices if notices is not None else []).append
    return report.page(compared, comparison.figure(compared), made, 0.3, notice, count)


def content(page):
    [data] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    return json.loads(data)


def stored(uri):
    import base64

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_a_small_album_is_stored_without_loss_and_files_as_they_are(tmp_path):
    made, originals, decoded = album(tmp_path)
    found = content(make_page(made, 2))
    for k, each in enumerate(found["pictures"]):
        first, ours, jpeg = each["versions"]
        np.testing.assert_array_equal(stored(first["src"]), originals[k])
        np.testing.assert_array_equal(stored(ours["src"]), decoded[k])
        np.testing.assert_array_equal(
            stored(jpeg["src"]), np.asarray(Image.open(tmp_path / f"{k}.jpg"))
        )
    assert "without loss" in found["stored"]


def test_the_page_needs_nothing_from_outside(tmp_path):
    page = make_page(album(tmp_path)[0], 2)
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)|@import|url\(|https?://", page)
    assert "<0>" not in page  # names stay data


def test_a_page_that_grows_stores_with_loss_and_keeps_its_limit(tmp_path):
    limit = 900_000
    made, _, _ = album(tmp_path, 4, limit, (256, 384))
    page = make_page(made, 4)
    assert len(page) <= limit
    found = content(page)
    assert len(found["pictures"]) == 4 and "as JPEG of quality" in found["stored"]


def test_what_does_not_fit_is_left_out_with_a_notice(tmp_path):
    limit, notices = 320_000, []
    made, _, _ = album(tmp_path, 6, limit, (256, 384))
    page = make_page(made, 6, notices)
    kept = len(content(page)["pictures"])
    assert len(page) <= limit and 0 < kept < 6
    assert notices == [f"the report has room for {kept} of 6 pictures"]


def test_24_kodak_sized_pictures_and_three_codecs_stay_below_15_megabytes(tmp_path):
    """Noise as original is the worst that can come; the other codecs' pictures are stored too."""
    made = report.Album()
    original = picture(0, 512, 768)
    sizes = made._levels(original)
    made._levels = lambda rgb: sizes  # each would be encoded anew: the sizes are what counts
    point = {"bpp": 0.25, "psnr": 31.5, "ms_ssim": None}
    for k in range(24):
        versions = [(f"codec {n}", point, "x.tfcd", lambda: original) for n in range(3)]
        made.add(f"kodim{k + 1:02d}", original, versions)
    page = make_page(made, 24)
    assert len(page) < 15_000_000
    assert len(content(page)["pictures"]) == 24


def test_the_busiest_place_is_found():
    rgb = np.full([200, 300, 3], 90, np.uint8)
    rgb[40:112, 150:222] = picture(1, 72, 72)
    x, y = report.busiest_place(rgb)
    assert abs(x - 186) <= 2 and abs(y - 76) <= 2
    assert report.busiest_place(rgb[:1, :5]) == (2, 0)


class TestBrowser:
    """The page in headless Chromium."""

    @pytest.fixture(autouse=True)
    def needs_chromium(self):
        if CHROMIUM is None:
            pytest.skip("there is no chromium here")

    def dom(self, tmp_path, page, fragment="", act=""):
        """The document after `act`, JavaScript that runs when the page is ready."""
        wait = (
            "<script>const timer = setInterval(() => {"
            'if (root.dataset.state !== "ready" || root.dataset.acted) return;'
            f'root.dataset.acted = "yes"; {act} }}, 20);</script>'
        )
        path = tmp_path / "report.html"
        path.write_text(page.replace("</body>", wait + "</body>"))
        argv = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu"]
        argv += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000"]
        argv += ["--dump-dom", f"{path.as_uri()}#{fragment}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        found = html.unescape(done.stdout)
        assert 'data-state="ready"' in found and 'data-acted="yes"' in found, done.stderr
        assert "data-error" not in found
        return found

    def test_it_measures_the_difference_that_there_is(self, tmp_path):
        made, originals, decoded = album(tmp_path)
        found = self.dom(tmp_path, make_page(made, 2), "picture=1&a=0&b=1&mode=difference")
        expected = np.abs(originals[1].astype(int) - decoded[1]).mean()
        assert f"mean absolute difference {expected:.3f} levels" in found
        assert "right: ours: 0.250 bpp, 31.50 dB" in found
        assert "<td>-10.0</td>" in re.sub(r' class=""', "", found)

    def test_every_control_changes_what_is_seen(self, tmp_path):
        """What the canvas shows after each act, as the sum of its pixels."""
        act = """
          const seen = {}, view = document.getElementById("view");
          const look = (name) => {
            const { data } = view.getContext("2d").getImageData(0, 0, view.width, view.height);
            seen[name] = data.reduce((sum, value, k) => (sum + value * (k % 251)) % 1e9, 0);
          };
          const click = (group, name) =>
            document.querySelector(`#${group} [data-name="${name}"]`).click();
          look("start");
          for (const mode of ["both", "difference", "slider"]) { click("modes", mode); look(mode); }
          click("zooms", "8"); look("zoom");
          const box = view.getBoundingClientRect();
          const at = (x, y) => ({ clientX: box.left + x * box.width,
            clientY: box.top + y * box.height, pointerId: 1, bubbles: true });
          view.setPointerCapture = () => {};
          const pull = (x0, y0, x1, y1) => {
            view.dispatchEvent(new PointerEvent("pointerdown", at(x0, y0)));
            view.dispatchEvent(new PointerEvent("pointermove", at(x1, y1)));
            view.dispatchEvent(new PointerEvent("pointerup", at(x1, y1)));
          };
          pull(0.5, 0.5, 0.2, 0.5); look("line");
          pull(0.7, 0.5, 0.5, 0.4); look("move");
          const right = document.getElementById("b");
          right.value = 2; right.onchange(); look("version");
          root.dataset.seen = JSON.stringify(seen);
        """
        found = self.dom(tmp_path, make_page(album(tmp_path)[0], 2), act=act)
        seen = json.loads(re.search(r'data-seen="(\{.*?\})"', found).group(1))
        assert seen["slider"] == seen["start"]
        steps = ["start", "both", "difference", "zoom", "line", "move", "version"]
        assert len({seen[name] for name in steps}) == len(steps), seen

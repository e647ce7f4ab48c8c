"""The pages in a real browser: nothing wider than a phone, and text and plots on the screen.

KERASFT_SCREENSHOTS names a folder that keeps the pictures.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kerasft.report.writing import write_comparison_report, write_run_report
from tests.report.made import MISCHIEF, made_comparison, made_run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on PATH")

PHONE, DESKTOP = 360, 1280


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    long = "a question without any end " * 20 + "x" * 400
    run = made_run(folder / "a-run-with-quite-a-long-name-20260131-120000", question=long)
    return {
        "run": write_run_report(run),
        "comparison": write_comparison_report(made_comparison(), folder / "comparison"),
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("KERASFT_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("name", ["run", "comparison"])
def test_nothing_is_wider_than_a_phone(name, pages, tmp_path):
    """The page in a frame of 360 pixels: windows cannot be that narrow, frames can."""
    text = pages[name].read_text("utf-8").replace("<details>", "<details open>")
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe width="{PHONE}" height="800" style="border:0" srcdoc="{html.escape(text)}">'
        "</iframe><p id=found></p><script>onload = () => {"
        "const page = frames[0].document, root = page.documentElement;"
        "const over = [...page.querySelectorAll('main *')].filter(each =>"
        " each.getBoundingClientRect().right > root.clientWidth + 1"
        " && !each.closest('.wide, svg'));"
        "found.textContent = [root.clientWidth, root.scrollWidth,"
        " ...over.map(each => each.outerHTML.slice(0, 80))].join(' | ')}</script>",
        "utf-8",
    )
    dom = _browse("--dump-dom", frame.as_uri(), tmp_path).stdout
    found = re.search(r'<p id="found">(.*?)</p>', dom, re.DOTALL)
    assert found is not None, dom[-500:]
    width, scrolled, *over = html.unescape(found[1]).split(" | ")
    assert not over
    # A bar to scroll down by may take some of the width.
    assert int(scrolled) == int(width) and PHONE - 20 <= int(width) <= PHONE


@pytest.mark.parametrize("name", ["run", "comparison"])
def test_text_and_plots_are_there_and_nothing_runs(name, pages, tmp_path):
    shown = _Shown()
    shown.feed(_browse("--dump-dom", pages[name].as_uri(), tmp_path).stdout)
    assert MISCHIEF in shown.text
    assert "script" not in shown.tags and "img" not in shown.tags
    assert shown.tags["svg"] == len(shown.svg_titles) >= 4
    assert all(shown.svg_titles)
    assert shown.tags["h1"] == 1 and shown.tags["h2"] >= 5
    for part in ("Scores", "Do it again", "Loss" if name == "comparison" else "Training"):
        assert part in shown.text


@pytest.mark.parametrize(("name", "scheme"), [("run", "light"), ("comparison", "dark")])
def test_the_page_on_the_screen_follows_light_and_dark(name, scheme, pages, pictures, tmp_path):
    picture = pictures / f"{name}-{DESKTOP}-{scheme}.png"
    _browse(
        f"--screenshot={picture}",
        f"--window-size={DESKTOP},2400",
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
        pages[name].as_uri(),
        tmp_path,
    )
    from matplotlib.image import imread

    pixels = imread(picture)[..., :3]
    assert pixels.shape[1] == DESKTOP
    corner = pixels[5, 5].mean()
    assert corner > 0.95 if scheme == "light" else corner < 0.15
    # Text and curves: a good part of the pixels is not the page's colour.
    assert (abs(pixels - pixels[5, 5]).max(axis=-1) > 0.2).mean() > 0.01


def _browse(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    *options, profile = arguments
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={Path(profile) / 'profile'}",
        *map(str, options),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


class _Shown(HTMLParser):
    """Tags, text and titles of plots of a rendered page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.text = ""
        self.svg_titles: list[str] = []
        self._path: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self._path.append(tag)
        if tag == "title" and "svg" in self._path:
            self.svg_titles.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._path and self._path.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._path[-1:] == ["title"] and "svg" in self._path:
            self.svg_titles[-1] += data

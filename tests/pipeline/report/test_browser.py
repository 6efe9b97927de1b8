"""The report in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.run_folder.folder import RunFolder

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = pytest.mark.skipif(not BROWSER, reason="neither chromium nor google-chrome is on PATH")


def look_at(page: Path, folder: Path) -> tuple[list[str], Path]:
    """Open a page; what it said on the console, and a picture of it."""
    picture = folder / "page.png"
    looked = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}",
            "--window-size=1100,2600", f"--screenshot={picture}", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert looked.returncode == 0, looked.stderr
    return [line for line in looked.stderr.splitlines() if "CONSOLE" in line], picture


def read_by_script(page: Path, folder: Path, width: int) -> str:
    """What a script says that finds out whether a page is wider than a frame of that width."""
    framed = folder / "framed.html"
    script = (
        "<script>const root = document.documentElement;"
        "onload = () => parent.postMessage(`${root.scrollWidth}/${root.clientWidth}`, '*')</script>"
    )
    (folder / "told.html").write_text(page.read_text().replace("</body>", f"{script}</body>"))
    framed.write_text(
        "<!doctype html><p id=said></p><script>onmessage = e => said.textContent = e.data</script>"
        f"<iframe src=told.html style='width:{width}px;height:900px;border:0'></iframe>"
    )
    looked = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", "--dump-dom",
            framed.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r"<p id=\"?said\"?>(.+?)</p>", looked.stdout)
    assert found, looked.stderr
    return found[1]


@pytest.mark.parametrize("width", [390, 1100])
def test_it_is_no_wider_than_the_window_and_figures_scroll_by_themselves(
    width: int, shipped: RunFolder, tmp_path: Path
) -> None:
    page = shipped.path / "report.html"
    whole, seen = read_by_script(page, tmp_path, width).split("/")
    assert whole == seen


def test_a_page_that_is_too_wide_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "wide.html"
    page.write_text("<!doctype html><body><div style='width:600px'>wide</div></body>")
    assert read_by_script(page, tmp_path, 390).startswith("6")


@pytest.mark.parametrize("which", ["tiny", "hostile", "shipped", "adopted"])
def test_it_is_shown_without_a_word_on_the_console(
    which: str, road, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run = road.run if which == "tiny" else request.getfixturevalue("hostile")
    console, picture = look_at(run.path / "report.html", tmp_path)
    assert console == []
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 50


@pytest.mark.parametrize(
    "body",
    ["<script>console.error('no')</script>", "<script>nothing.there()</script>",
     "<script src='gone.js'></script><script>gone()</script>"],
)  # fmt: skip
def test_an_error_on_a_page_would_be_seen(tmp_path: Path, body: str) -> None:
    page = tmp_path / "bad.html"
    page.write_text(f"<!doctype html><title>bad</title>{body}")
    console, _ = look_at(page, tmp_path)
    assert console

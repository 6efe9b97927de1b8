"""The report in a real browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


@pytest.mark.parametrize("which", ["tiny", "hostile"])
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

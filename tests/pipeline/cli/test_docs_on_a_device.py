"""The blocks about a Raspberry Pi, run on a loopback SSH server: its URL and the target `local`
stand in the place of the board's, and nothing else is changed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from doc_blocks import LOOPBACK, blocks
from loopback_sshd import FakeDevice

from pipeline.run_folder.folder import RunFolder

BLOCKS = [block for block in blocks() if block.text.startswith(LOOPBACK)]


def on_loopback(line: str, url: str, run: str) -> list[str]:
    """A line's words, of the stand-in for the board and its run."""
    line = line.replace("ssh://pi@raspberrypi.local", url)
    line = re.sub(r"--target rpi\b", "--target local", line).replace("rpi-onnx", "local-onnx")
    return shlex.split(re.sub(r"runs/\w+", run, line))[1:]


def test_there_are_such_blocks_on_both_pages() -> None:
    assert {block.page for block in BLOCKS} == {
        "docs/tutorial-photos.md", "docs/how-to/raspberry-pi.md",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("page", ["docs/tutorial-photos.md", "docs/how-to/raspberry-pi.md"])
def test_the_blocks_about_a_board_run_on_a_loopback_server(
    page: str, own: RunFolder, device: FakeDevice, compress, tmp_path: Path
) -> None:
    (tmp_path / "budget.toml").write_text("[limits]\nsize_mb = { max = 5.0 }\n")
    url = f"{device.url}{tmp_path}/of-the-docs"
    for block in (block for block in BLOCKS if block.page == page):
        for line in block.commands:
            said = compress(*on_loopback(line, url, "runs/tiny"), cwd=tmp_path)
            assert said.code == 0, f"{block}: {line}\n{said.err}"

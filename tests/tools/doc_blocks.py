"""The blocks of code in the docs' pages, which test runs them, and a recipe to run them with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tomlkit

ROOT = Path(__file__).parents[2]
SHELL = {"bash", "sh", "console", "shell"}

# Pages whose blocks are run, by the test that does; see there.
RUN = {
    "CONTRIBUTING.md": "tests/test_contributing.py",
    "docs/tutorial-photos.md": "tests/test_tutorial.py",
    "docs/how-to/raspberry-pi.md": "tests/pipeline/cli/test_docs_on_a_device.py",
    **dict.fromkeys(
        [
            "README.md", "docs/quickstart.md", "docs/ci.md", "docs/data.md", "docs/diagnostics.md",
            "docs/export.md", "docs/measuring.md", "docs/method.md", "docs/targets.md",
            "docs/benchmarks.md", "docs/how-to/own-network.md", "docs/how-to/fast-enough.md",
            "docs/how-to/bring-your-own.md", "docs/how-to/releases.md",
            "docs/how-to/submit-a-measurement.md", "docs/how-to/teach.md",
            "benchmarks/submissions/README.md",
        ],
        "tests/pipeline/cli/test_docs_run.py",
    ),
}  # fmt: skip

LOOPBACK = "# run by a test on a loopback SSH server, with target local in the place of rpi\n"
"""First line of a block that `test_docs_on_a_device.py` runs."""

_FENCE = re.compile(r"^( *)```([\w{}-]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_NOT_RUN = re.compile(r"# not run by a test: (.+)")
_COMMENT = re.compile(r"\s+# .*$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: relative to the root.
        line: of its fence, from 1.
        language: behind the fence; empty where there is none.
        text: without the fences.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def is_shell(self) -> bool:
        """Whether it is for a shell."""
        return self.language in SHELL

    @property
    def reason(self) -> str | None:
        """Why no test runs it, as its first line says; None where one does."""
        found = _NOT_RUN.match(self.text)
        return found[1] if found else None

    @property
    def commands(self) -> list[str]:
        """Its command lines, continued ones in one, without comments."""
        text = self.text.replace("\\\n", " ")
        lines = (_COMMENT.sub("", line).strip() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """All pages that are written by hand."""
    made = ROOT / "docs/reference"
    every = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")]
    return sorted(page for page in every if made not in page.parents)


def blocks() -> list[Block]:
    """All fenced blocks of all pages."""
    return [block for page in pages() for block in blocks_of(page)]


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    for found in _FENCE.finditer(text):
        yield Block(name, text.count("\n", 0, found.start()) + 1, found[2], found[3])


def quick_recipe() -> str:
    """`digits` as it ships, in less time, with limits that so little training keeps."""
    recipe = tomlkit.parse((ROOT / "pipeline/recipe/shipped/digits.toml").read_text())
    recipe["teacher"]["training"]["epochs"] = 2
    recipe["student"]["train_alone"] = False
    for stage, epochs in zip(recipe["stages"], (2, 4), strict=True):
        stage["epochs"] = epochs
    recipe["stages"][0]["hold_epochs"] = 1.0
    recipe["data"]["student_fraction"] = 0.5
    recipe["bench"].update({"max_seconds": 1.0, "min_seconds": 0.0, "queries": 200, "rounds": 7})
    recipe["gate"]["limits"] = {"size_mb": {"max": 5.0}, "top1_percent": {"min": 1.0}}
    return tomlkit.dumps(recipe)

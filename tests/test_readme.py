"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import pages

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = pages()


def test_the_library_in_ten_lines_distils_a_users_own_networks(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    fitnet, kd = result.stdout.splitlines()
    assert fitnet.startswith("fitnet {'ce'") and kd.startswith("kd {'ce'")
    assert "'reference'" not in fitnet and "'reference'" in kd
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"1-fitnet", "2-kd"}


def headings(page: Path) -> set[str]:
    """Its headings as they stand behind a # in a link."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, heading = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def test_a_user_finds_how_to_install_to_contribute_and_under_which_licence() -> None:
    for page in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE"):
        assert f"]({page})" in README
    assert "pip install ." in README

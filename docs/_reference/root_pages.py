"""Pages that lie at the root of the repository, as pages of the site."""

from __future__ import annotations

import re
from pathlib import Path

from _reference.markdown import GENERATED

_ROOT = Path(__file__).parents[2]
# What has no page of its own is only named.
_ELSEWHERE = re.compile(
    r"\[([^\]]+)\]\((?!https?:|#|\.\./[\w/-]+\.md|(?:contributing|changelog|security)\.md)[^)]*\)"
)
_PAGES = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}


def pages() -> dict[str, str]:
    """Each as it is, with links that hold from its place here."""
    return {
        name: f"{GENERATED}\n{_moved((_ROOT / source).read_text(encoding='utf-8'))}"
        for name, source in _PAGES.items()
    }


def _moved(text: str) -> str:
    text = re.sub(r"\]\(docs/", "](../", text)
    for name, source in _PAGES.items():
        text = text.replace(f"]({source}", f"]({name}")
    return _ELSEWHERE.sub(r"\1", text)

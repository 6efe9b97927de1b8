"""Under which headings the help of a command with many options has them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

ASKED = "What is asked"
COMES_OUT = "What comes out"
RARE = "Rarely needed"

_ALWAYS_OUT = frozenset({"run", "out", "json"})
_ALWAYS_RARE = frozenset({"set", "trust_code"})


def in_panels(
    options: Sequence[Any], rare: Collection[str] = (), out: Collection[str] = ()
) -> list[Any]:
    """A command's options, panel by panel; each is given the one that it stands in, if it has none.

    Args:
        options: as the parser has them.
        rare: names of those that few need.
        out: names of those that say what comes out and where, beside the usual ones.
    """
    for option in options:
        if option.rich_help_panel is None and option.name != "help":
            option.rich_help_panel = _panel_of(str(option.name), rare, out)
    order = (ASKED, COMES_OUT, RARE)
    return sorted(
        options,
        key=lambda option: order.index(panel) if (panel := option.rich_help_panel) in order else 9,
    )


def _panel_of(name: str, rare: Collection[str], out: Collection[str]) -> str:
    if name in rare or name in _ALWAYS_RARE:
        return RARE
    return COMES_OUT if name in out or name in _ALWAYS_OUT else ASKED

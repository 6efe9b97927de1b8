"""What a class's docstring says of its fields, for all who have to say it again."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"\n\s*Attributes:\n(.*?)(?:\n\s*\n|\Z)", re.DOTALL)


def explanations(record: type) -> dict[str, str]:
    """What the docstring says of each field; "low, high: ..." speaks of both."""
    section = _SECTION.search(inspect.cleandoc(record.__doc__ or "") + "\n")
    if section is None:
        return {}
    lines = inspect.cleandoc(section[1]).splitlines()
    words: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        begun = re.match(r"([\w, ]+): (.*)", line)
        if begun and not line.startswith(" "):
            names = [name.strip() for name in begun[1].split(",")]
            words.update(dict.fromkeys(names, begun[2].strip()))
        else:
            words.update({name: f"{words[name]} {line.strip()}" for name in names})
    return words

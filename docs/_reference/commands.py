"""A page for each command, from the very parser that reads the command line."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import typer

from _reference.markdown import block, cell, page, table, words
from pipeline.cli import app

_STYLE = re.compile(r"\[/?bold\]")
_NOT_SHOWN = {"help", "install_completion", "show_completion"}
_VALUES = {
    "<str>": "TEXT", "<list[str]>": "TEXT", "<int>": "NUMBER", "<float>": "NUMBER",
    "<list[int]>": "NUMBER", "<list[float]>": "NUMBER", "<path>": "PATH", "<list[path]>": "PATH",
}  # fmt: skip


def pages() -> dict[str, str]:
    """A page with all commands, and one for each."""
    root = typer.main.get_command(app)
    commands = dict(_commands(root, "compress"))
    rows = [[f"[{name}]({_file(name)})", words(_summary(one))] for name, one in commands.items()]
    overview = page(
        "Commands",
        words(_STYLE.sub("", (root.help or "").split("\n\n")[0])),
        table(["command", "what it does"], rows),
        "## Options of every command",
        _options(root, "compress"),
        "[Exit codes](exit-codes.md) say how a command ended.",
    )
    return {
        "commands.md": overview,
        **{_file(name): _page(name, one) for name, one in commands.items()},
    }


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands under a group, with the words that they are called by."""
    for key, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {key}")
        elif not command.hidden:
            yield f"{name} {key}", command


def _file(name: str) -> str:
    return f"commands/{name.removeprefix('compress ').replace(' ', '-')}.md"


def _page(name: str, command: Any) -> str:
    usage = command.get_usage(typer.Context(command, info_name=name)).removeprefix("Usage: ")
    return page(
        name,
        *map(words, _help(command).split("\n\n")),
        block(usage),
        _examples(command),
        _arguments(command, name),
        _options(command, name),
    )


def _help(command: Any) -> str:
    return _STYLE.sub("", inspect.cleandoc(command.help or ""))


def _summary(command: Any) -> str:
    return _help(command).split("\n\n")[0]


def _examples(command: Any) -> str:
    text = (command.epilog or "").partition(":")[2]
    lines = [line.strip() for line in text.split("·") if line.strip()]
    return "## Examples\n\n" + block("\n".join(lines), "console") if lines else ""


def _arguments(command: Any, name: str) -> str:
    rows = [
        [cell(one.name.upper()), words(one.help or "")]
        for one in _parameters(command, name)
        if one.param_type_name == "argument"
    ]
    return "## Arguments\n\n" + table(["argument", "what it is"], rows) if rows else ""


def _options(command: Any, name: str) -> str:
    """The options, a table for each panel that `--help` shows them in."""
    panels: defaultdict[str, list[list[str]]] = defaultdict(list)
    for option in _parameters(command, name):
        if option.param_type_name == "option":
            panels[option.rich_help_panel or "Options"].append(_row(option))
    parts = [
        f"### {panel}\n\n" + table(["option", "what it does", "default"], rows)
        for panel, rows in panels.items()
    ]
    return "\n\n".join(parts)


def _parameters(command: Any, name: str) -> list[Any]:
    every = command.get_params(typer.Context(command, info_name=name))
    return [one for one in every if one.name not in _NOT_SHOWN and not one.hidden]


def _row(option: Any) -> list[str]:
    flags = ", ".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag or option.count else f" {option.metavar or _kind(option)}"
    is_told = option.default not in (None, False, (), []) and not option.count
    default = cell(option.default) if is_told else ""
    return [cell(flags + value), words(option.help or ""), default]


def _kind(option: Any) -> str:
    """What stands for its value where nothing better is known than the type."""
    return _VALUES.get(option.display_type_rich, option.display_type_rich)

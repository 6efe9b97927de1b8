"""Each block for a shell in the docs is run by a test, or says why not; all of it is real.

`tests/pipeline/cli/test_docs_run.py` runs them; here is what can be known at once: that no block
is neither, and that the commands, options, recipes, keys, targets, scripts and goals of make that
are shown exist.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from doc_blocks import ROOT, RUN, Block, blocks, pages
from typer.main import get_command

from deploy_targets.targets import target_names
from pipeline.cli import app
from pipeline.recipe.by_name import shipped_names
from pipeline.recipe.file import load_recipe
from pipeline.recipe.keys import places

# Why a block is not run, and what every line of a block with that reason must then be.
REASONS = {
    "it installs": r"pip install|apt-get",
    "it needs a device": r"ssh-copy-id|.*--host ssh://|.*--fleet",
    "it needs a cluster": r"pip install '.*\[cluster\]'|.*--scheduler|dask |srun |export DASK_",
    "it takes minutes": r"make |python benchmarks/|compress (study|search)",
    "it runs the tests": r"make (setup|test|demo)|\.venv/bin/(pytest|ruff)",
    "CI does, in .ci/run": r"make (demo|test)$",
    "it needs QEMU, and a network the first time (`make test-arm64` does the same)": r".*--emulate",
    "it needs a data set that is fetched": r".*--data (imagenet|cifar10)",
    "it needs weights that are fetched": r"compress teach .*--teacher (torchvision|timm)/",
    "it needs several processes at once": r"torchrun ",
}

UsageError: Any = typer.BadParameter.__base__

COMMAND = re.compile(r"(compress|make|pip|python|pytest|torchrun|dask|srun) ")
PLACEHOLDER = re.compile(r"…|\b[A-Z][A-Z_]{2,}\b(?!=)")
ALL = blocks()
SHELL = [block for block in ALL if block.is_shell]
SYNOPSES = [block for block in ALL if not block.is_shell and COMMAND.match(block.text)]


def test_there_are_blocks_to_look_at() -> None:
    assert len(SHELL) > 40 and len(SYNOPSES) > 5


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_block_is_run_by_a_test_or_says_why_not(block: Block) -> None:
    if block.reason is None:
        assert block.page in RUN, "no test runs it, and its first line does not say why"
        assert (ROOT / RUN[block.page]).is_file()
        return
    assert block.reason in REASONS, f"{block.reason!r} is none of {list(REASONS)}"
    for command in block.commands:
        assert re.match(REASONS[block.reason], command), command


@pytest.mark.parametrize("block", SYNOPSES, ids=str)
def test_what_is_not_for_a_shell_has_something_to_fill_in(block: Block) -> None:
    assert any(PLACEHOLDER.search(command) for command in block.commands), block.text


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_no_command_hides_in_an_indented_block(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    hidden = re.findall(rf"\n\n {{4}}({COMMAND.pattern}.*)", text)
    assert not hidden, "fence it, so that it is tested"


def shown_in(block: Block) -> Iterator[str]:
    """The commands of a block, those behind `&&` too."""
    for command in block.commands:
        yield from (part.strip() for part in re.split(r"&&|\|\||;", command))


def inline() -> Iterator[tuple[str, str]]:
    """Commands of ours in running text, with their page."""
    for page in pages():
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
        for code in re.findall(r"`(compress [^`]+)`", text):
            yield page.relative_to(ROOT).as_posix(), " ".join(code.split())


IN_BLOCKS = {(block.page, line) for block in (*SHELL, *SYNOPSES) for line in shown_in(block)}
LINES = sorted(IN_BLOCKS | {*inline()})
OURS = [(page, line) for page, line in LINES if re.match(r"compress( |$)", line)]


def words_of(line: str) -> list[str]:
    """The words behind `compress`; what stands for something is as good as any word."""
    line = re.sub(r"\s[>|<].*$", "", line)
    return shlex.split(line.replace("…", "SOMETHING").replace("$?", "3"))[1:]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words call, and what stands behind its name."""
    command: Any = get_command(app)
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


def parsed(words: list[str]) -> tuple[Any, dict[str, Any]]:
    """The command and its parameters, as the real parser reads them; nothing is run."""
    command, rest = command_of(words)
    if hasattr(command, "commands"):
        flags = {flag for option in command.params for flag in option.opts} | {"--help"}
        assert set(rest) <= flags, f"no command {rest[:1]}"
        return command, {}
    context = typer.Context(command, info_name=command.name)
    command.parse_args(context, rest)
    return command, context.params


def assert_options(words: list[str]) -> None:
    """Of a line in running text, which may leave out what a command needs: its options exist."""
    command, rest = command_of(words)
    every = command.get_params(typer.Context(command))
    flags = {flag for option in every for flag in (*option.opts, *option.secondary_opts)}
    flags |= {"-vv", "-vvv", "--help"}
    asked = {word.partition("=")[0] for word in rest if word.startswith("-")}
    assert asked <= flags, f"no option {asked - flags}"
    assert not hasattr(command, "commands") or not rest or rest[0] in flags, f"no {rest[0]}"


@pytest.mark.parametrize(("page", "line"), OURS)
def test_a_command_of_ours_exists_with_its_options(
    page: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("COMPRESS_TRUST_CODE", "COMPRESS_TRACEBACK"):
        monkeypatch.setenv(name, "")
    assert_options(words_of(line))
    if (page, line) in IN_BLOCKS:
        check_names(parsed(words_of(line))[1])


def check_names(values: dict[str, Any]) -> None:
    """Recipes that are named without a folder ship; keys and targets exist."""
    recipe = values.get("recipe")
    if recipe is not None and not PLACEHOLDER.search(str(recipe)) and "." not in str(recipe):
        assert str(recipe) in shipped_names(), f"no recipe {recipe}"
    known = {re.sub(r"\d+", "0", place) for place in places()}
    for change in values.get("set") or ():
        key = change.partition("=")[0]
        if not PLACEHOLDER.search(key):
            assert is_known(re.sub(r"\d+", "0", key), known), f"no key {key}"
    targets = values.get("target") or ()
    for target in [targets] if isinstance(targets, str) else targets:
        if re.fullmatch(r"[a-z0-9-]+", str(target)):
            assert target in {*target_names(), "gate-camera"}, f"no target {target}"


def is_known(key: str, known: set[str]) -> bool:
    """A key, or one within a table whose keys are free."""
    return key in known or any(key.startswith(f"{place}.") for place in known)


@pytest.mark.parametrize(
    "line",
    [
        "compress bnech runs/digits", "compress bench --quries 5", "compress run digts",
        "compress run digits --set stages.0.epoch=3", "compress export --target rpi9",
        "compress bench --queries many", "compress run", "compress bundle verfy x",
    ],
)  # fmt: skip
def test_a_wrong_line_is_found(line: str) -> None:
    with pytest.raises((AssertionError, UsageError)):
        check_names(parsed(words_of(line))[1])


@pytest.mark.parametrize(
    ("page", "line"), [(page, line) for page, line in LINES if line.startswith("make ")]
)
def test_a_goal_of_make_exists(page: str, line: str) -> None:
    goals = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line.split()[1] in goals


@pytest.mark.parametrize(
    ("page", "line"),
    [(page, line) for page, line in LINES if line[:18] == "python benchmarks/"],
)
def test_a_benchmark_exists_with_its_options(page: str, line: str) -> None:
    _python, script, *words = shlex.split(line)
    source = (ROOT / script).read_text(encoding="utf-8")
    assert [word for word in words if word.startswith("--") and f'"{word}"' not in source] == []


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "toml"], ids=str)
def test_a_piece_of_a_recipe_has_keys_that_exist(block: Block, tmp_path: Path) -> None:
    """A budget, a fleet or a target is another kind of file, and tested where it is used."""
    tables = re.findall(r"^\[+([\w.]+)\]+", block.text, re.MULTILINE)
    if not tables or not {table.split(".")[0] for table in tables} <= {"stages", "data", "bench"}:
        return
    (tmp_path / "recipe.toml").write_text(block.text.replace("…", ""))
    load_recipe(tmp_path / "recipe.toml")


def test_what_ci_does_is_what_the_readme_shows() -> None:
    (block,) = (one for one in SHELL if one.reason == "CI does, in .ci/run")
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert all(command in lines for command in block.commands)

"""compress explain: a page for each exit code that there is, and for no other."""

from __future__ import annotations

import inspect
import json
import re

import pytest
from typer.testing import CliRunner

from foundation import errors
from foundation.errors import CompressError, UnknownNameError
from pipeline.cli import COMMANDS, app
from pipeline.cli._app import EXIT_CODES
from pipeline.cli._leaving import INTERRUPTED
from pipeline.commands.explain import exit_codes
from pipeline.recipe.sections.recipe import Recipe

VERDICTS = {0, 1, 3}  # passed, failed, inconclusive


def shown(*words: str) -> str:
    result = CliRunner().invoke(app, ["explain", *words], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.output


def test_each_exit_code_has_a_page_and_help_lists_the_very_same() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, CompressError)}
    pages = [page.code for page in exit_codes()]
    assert sorted({*codes, *VERDICTS, INTERRUPTED}) == pages
    assert sorted(map(int, re.findall(r"(?:^|·|:)\s*(\d+) ", EXIT_CODES))) == pages


@pytest.mark.parametrize("page", exit_codes(), ids=lambda page: page.name)
def test_a_page_is_found_by_number_and_by_name_and_says_what_to_do(page) -> None:
    assert page.title
    assert len(page.text.splitlines()) > 1
    assert page.title in shown(str(page.code))
    assert shown(page.name) == shown(str(page.code))
    (told,) = json.loads(shown(page.name, "--json"))["exit_codes"]
    assert (told["code"], told["text"]) == (page.code, page.text)


def test_without_a_word_all_are_listed() -> None:
    table = shown()
    for page in exit_codes():
        assert page.name in table


@pytest.mark.parametrize(
    ("word", "hint"),
    [("71", "Known: 0, 1, 10"), ("disk-ful", "did you mean 'disk-full'?")],
)
def test_one_that_there_is_not_is_told_with_the_nearest(word: str, hint: str) -> None:
    result = CliRunner().invoke(app, ["explain", word])
    assert isinstance(result.exception, UnknownNameError)
    assert hint in str(result.exception)


def test_commands_and_keys_that_pages_name_are_there() -> None:
    """What a page tells to type is known to the program."""
    text = "\n".join(page.text for page in exit_codes())
    for command in re.findall(r"`compress ([a-z]+)", text):
        assert command in COMMANDS
    for section, key in re.findall(r"`(data|engine|gate)\.([a-z_]+)", text):
        assert hasattr(getattr(Recipe(), section), key)

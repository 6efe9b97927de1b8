"""compress recipes, and the commands that take a recipe by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foundation.errors import CompressError
from pipeline.cli import app
from pipeline.recipe.by_name import shipped_names, shipped_recipe
from pipeline.recipe.file import load_recipe


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["recipes", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_all_are_listed_with_what_they_are_for() -> None:
    listed = json.loads(shown("--json"))["recipes"]
    assert [recipe["name"] for recipe in listed] == shipped_names()
    table = shown()
    for recipe in listed:
        assert recipe["name"] in table
        assert recipe["summary"].split(",")[0] in table
        assert Path(recipe["path"]).is_file()


def test_one_is_shown_as_it_stands_in_its_file_to_begin_ones_own_with(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(shown("cifar10-study"))
    original = Path(shipped_recipe("cifar10-study").path)
    assert mine.read_text() == original.read_text().rstrip("\n") + "\n"
    assert load_recipe(mine).recipe == load_recipe(original).recipe


@pytest.mark.parametrize("command", ["recipes", "run", "distill", "study", "search"])
def test_an_unknown_name_ends_as_unknown_names_do(command: str, compress, tmp_path: Path) -> None:
    result = compress(command, "digts", cwd=tmp_path)
    assert result.code == 12
    assert "unknown recipe 'digts', did you mean 'digits'?" in result.complaint


@pytest.mark.parametrize("command", ["run", "distill", "study", "search"])
def test_which_recipe_was_taken_is_said_beside_the_result(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that fits nowhere ends the command once the recipe was found."""
    monkeypatch.chdir(tmp_path)
    for beginning in ("recipe digits is the one that ships", "digits: the file here, not the"):
        result = CliRunner().invoke(app, [command, "digits", "--set", "seed=no", "--json"])
        assert isinstance(result.exception, CompressError)
        assert result.stdout == ""
        assert result.stderr.startswith(f"note: {beginning}")
        (tmp_path / "digits").write_text("")
    monkeypatch.setenv("RANK", "1")
    quiet = CliRunner().invoke(app, [command, "digits", "--set", "seed=no"])
    assert quiet.stderr == ""  # of several processes one speaks

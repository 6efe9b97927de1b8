"""Recipes that ship, by name, and files of the same name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from foundation.errors import MissingFileError, UnknownNameError
from pipeline.cli import app
from pipeline.recipe.by_name import choose_recipe, shipped_names, shipped_recipe
from pipeline.recipe.file import load_recipe

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_recipe_is_found_by_its_name_wherever_one_is(name: str) -> None:
    choice = choose_recipe(Path(name))
    assert load_recipe(choice.path).recipe.name == name
    assert choice.note == f"recipe {name} is the one that ships with edge-compress: {choice.path}"


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_recipe_says_what_it_is_for_and_how_to_begin(name: str) -> None:
    recipe = shipped_recipe(name)
    assert re.fullmatch(r"[A-Z].*\.", recipe.summary)
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for line in recipe.commands:
        compress, command, argument, *_ = line.split()
        assert compress == "compress" and command in commands
        assert argument in {name, f"runs/{name}"}
    assert recipe.commands[0].split()[2] == name
    lines = Path(recipe.path).read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 100


def test_every_recipe_that_the_readme_names_ships() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"(?:compress|pipeline) (?:run|study|distill) ([\w./-]+)", text)
    assert {"digits", "digits-study"} <= set(commands)
    named = {word for word in commands if not word.startswith("-")}
    assert named <= set(shipped_names())


def test_a_file_comes_before_a_shipped_recipe_of_its_name_and_that_is_said() -> None:
    Path("digits").write_text("seed = 5")
    choice = choose_recipe(Path("digits"))
    assert load_recipe(choice.path).recipe.seed == 5
    assert choice.note and "the file here, not the recipe of that name" in choice.note


def test_of_a_file_that_is_no_shipped_recipes_name_nothing_is_said() -> None:
    Path("digits.toml").write_text("seed = 5")
    choice = choose_recipe(Path("digits.toml"))
    assert (choice.path, choice.note) == (Path("digits.toml"), None)


def test_a_folder_hides_no_shipped_recipe() -> None:
    Path("digits").mkdir()
    assert choose_recipe(Path("digits")).path == Path(shipped_recipe("digits").path)


def test_a_folder_of_another_name_is_left_to_the_reader_who_says_why_it_is_none() -> None:
    Path("photos").mkdir()
    assert choose_recipe(Path("photos")).path == Path("photos")


@pytest.mark.parametrize(
    ("word", "hint"), [("digts", "did you mean 'digits'?"), ("zzz", "Known: cifar10-int8, ")]
)
def test_a_name_of_no_recipe_is_answered_with_the_nearest_or_with_all(word: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown recipe '{word}'") as refused:
        choose_recipe(Path(word))
    assert hint in str(refused.value)
    assert "nor is there a file of that name here" in str(refused.value)


@pytest.mark.parametrize("word", ["digits.toml", "recipes/digits.toml"])
def test_the_path_of_no_file_that_is_called_like_a_shipped_recipe_gets_its_name(word: str) -> None:
    with pytest.raises(MissingFileError, match=rf"^{word}: no such recipe; .*: digits$"):
        choose_recipe(Path(word))


@pytest.mark.parametrize("word", ["mine.toml", "there/mine", "there/digits"])
def test_any_other_path_of_no_file_is_left_to_the_reader(word: str) -> None:
    assert choose_recipe(Path(word)).path == Path(word)


def test_a_name_too_long_for_a_file_is_one_that_is_not_known() -> None:
    with pytest.raises(UnknownNameError, match="unknown recipe"):
        choose_recipe(Path("x" * 5000))

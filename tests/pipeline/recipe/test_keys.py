"""Keys of the recipe, one by one."""

from __future__ import annotations

import importlib

import pytest

from pipeline.recipe.file import hints_of
from pipeline.recipe.keys import OF_ONE_FILE, key_at, keys_of, places
from pipeline.recipe.sections.recipe import Recipe


@pytest.mark.parametrize(("name", "class_name"), OF_ONE_FILE.items())
def test_a_section_in_a_file_of_its_name_is_the_recipes(name: str, class_name: str) -> None:
    module = importlib.import_module(f"pipeline.recipe.sections.{name}")
    section = getattr(module, class_name)
    hint = hints_of(Recipe)[name]
    assert hint is section or section in hint.__args__


def test_every_key_has_words_and_its_place() -> None:
    assert [key.place for key in keys_of("gate")] == [
        place for place in places() if place.startswith("gate.")
    ]
    assert key_at("stages.0.prune").words and key_at("gate.baseline").words

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import MissingFileError, RecipeError
from pipeline.commands.gate import read_budget
from pipeline.recipe.sections.gate import GateRecipe, Limit


def budget(folder: Path, text: str) -> GateRecipe:
    path = folder / "budget.toml"
    path.write_text(text)
    return read_budget(path)


def test_a_budget_has_the_keys_of_the_gate_section(tmp_path: Path) -> None:
    read = budget(tmp_path, 'bundles = ["a"]\n[limits]\nsize_mb = { max = 1 }')
    assert read == GateRecipe(bundles=["a"], limits={"size_mb": Limit(max=1.0)})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limts]", "budget.toml line 1, limts: unknown key 'limts', did you mean 'limits'?"),
        ("[limits]\nsize_mb = 3", "budget.toml line 2, limits.size_mb"),
        ("[limits]\nsize_mb = { maks = 3 }", "did you mean 'max'?"),
        ("[limits]\nsize_mb = {}", "needs max, min or max_regression"),
        ("[gate.limits]\nsize_mb = { max = 3 }", "known here: bundles, limits"),
        ("limits = ", "budget.toml: not valid TOML"),
    ],
)
def test_a_budget_with_an_error_is_told_of_with_its_place(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        budget(tmp_path, text)
    assert words in str(refused.value)


def test_a_budget_that_is_not_there_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nope\.toml: no such budget"):
        read_budget(tmp_path / "nope.toml")

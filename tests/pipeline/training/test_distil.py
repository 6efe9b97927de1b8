from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import start_run
from pipeline.training.distil import remark_on_weights


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"methods": ["kd", "at"]}, ["stage 1-kd+at: the cross-entropy has weight 1, the largest"]),
        (
            {"methods": ["kd", "logit-std"]},
            ["stage 1-kd+logit-std: the cross-entropy has weight 0.1,"],
        ),
        ({"methods": ["kd", "at"], "ce_weight": 0.1}, []),
        ({"methods": "kd"}, []),
    ],
)
def test_the_weight_of_the_labels_is_told_where_one_of_several_was_chosen(
    stage: dict[str, object], words: list[str], tmp_path: Path
) -> None:
    said: list[str] = []
    recipe = load_recipe(None, {"stages": [stage]}).recipe
    with start_run(tmp_path / "x", recipe, said.append).step("distill") as step:
        remark_on_weights(step, recipe)
    assert len(said) == len(words)
    assert all(line.startswith(start) for line, start in zip(said, words, strict=True))

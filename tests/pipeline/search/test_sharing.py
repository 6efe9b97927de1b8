"""What the trials of a search take over from each other."""

from __future__ import annotations

from pathlib import Path

from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.search.sharing import take_teacher


def test_a_teacher_that_was_taken_is_found_done(tmp_path: Path) -> None:
    """With all that its step left, what it is worth class by class too."""
    teacher, run = (start_run(tmp_path / name, Recipe()) for name in ("teacher", "trial"))
    left = [teacher.teacher / "weights.safetensors", teacher.scores("teacher")]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_text(path.name)
    with teacher.step("teacher", weights="w") as step:
        step.products = left
    teacher.note(networks={"teacher": {"model": "m", "parameters": 1, "macs": 1}})
    take_teacher(run, teacher)
    with RunFolder(run.path).step("teacher", weights="w") as step:
        assert not step.needed

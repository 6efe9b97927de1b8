"""Do fixed views of each image, which let the teacher's word be kept, cost accuracy?

    python benchmarks/teacher_views.py digits-study --seeds 5

The recipe's student is distilled with 1, 8 and an unlimited number of views of each image, with
the same teacher, first weights and epochs. Prints a Markdown table. Runs in RUN are gone on with.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import tomlkit

from foundation.files import write_text
from pipeline.commands.distill import distill_only
from pipeline.recipe.by_name import choose_recipe
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder
from pipeline.shown.console import progress_console
from smskd.training.stage_files import WEIGHTS

VIEWS = (1, 8, None)


def one_run(recipe: Path, folder: Path, views: int | None, seed: int) -> float:
    """Test accuracy in percent for one number of views; None is unlimited."""
    overrides: dict[str, object] = {"seed": seed}
    if views is not None:
        # One teacher for all three, trained in the run without fixed views.
        weights = RunFolder(folder / f"unlimited-{seed}").teacher / WEIGHTS
        overrides |= {"data.teacher_views": views, "teacher.weights": str(weights)}
    run = RunFolder(folder / f"{views or 'unlimited'}-{seed}")
    distill_only(load_recipe(without_views(recipe, folder), overrides), run.path)
    top1: float = run.record()["networks"]["student"]["test"]["top1"]
    return 100 * top1


def without_views(recipe: Path, folder: Path) -> Path:
    """The recipe without a number of views of its own."""
    content = tomlkit.parse(recipe.read_text(encoding="utf-8"))
    content.get("data", {}).pop("teacher_views", None)
    path = folder / recipe.name
    write_text(path, tomlkit.dumps(content))
    return path


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("recipe", type=lambda word: choose_recipe(Path(word)).path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--run", type=Path, default=Path("runs/teacher-views-study"))
    args = parser.parse_args()
    progress_console().print("unlimited views first: their runs train the teachers")
    accuracies = {
        views: [one_run(args.recipe, args.run, views, seed) for seed in range(args.seeds)]
        for views in reversed(VIEWS)
    }
    print("| views of an image | test top-1 %, mean ± sd |")
    print("| ---: | ---: |")
    for views in VIEWS:
        spread = statistics.stdev(accuracies[views]) if len(accuracies[views]) > 1 else 0.0
        mean = statistics.mean(accuracies[views])
        print(f"| {views or 'unlimited'} | {mean:.2f} ± {spread:.2f} |")


if __name__ == "__main__":
    main()

"""Does keeping what the teacher says cost accuracy, and what does it save?

    python benchmarks/teacher_views.py recipes/digits-study.toml --seeds 5

The recipe's student is distilled with 1, 8 and an unlimited number of views of each image, with
the same teacher, first weights and epochs. Prints a Markdown table. Runs in RUN are gone on with.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from foundation.files import read_json
from pipeline.display import progress_console
from pipeline.recipe_file import load_recipe
from pipeline.road import distill_only
from pipeline.runs import RunFolder
from smskd.training import METRICS

VIEWS = (1, 8, None)


def one_run(recipe: Path, folder: Path, views: int | None, seed: int) -> tuple[float, float]:
    """Test accuracy in percent, and the seconds of an epoch, for one number of views."""
    overrides = {"seed": seed, "data.teacher_views": views}
    weights = folder / f"unlimited-{seed}" / "teacher" / "weights.safetensors"
    if views is not None:
        # One teacher for all three, trained in the run without fixed views.
        overrides["teacher.weights"] = str(weights)
    file = load_recipe(
        recipe, {key: value for key, value in overrides.items() if value is not None}
    )
    path = folder / f"{views or 'unlimited'}-{seed}"
    distill_only(file, path)
    run = RunFolder(path)
    histories = [read_json(path)["history"] for path in run.stages.glob(f"*/{METRICS}")]
    seconds = [record["seconds"] for history in histories for record in history]
    return 100 * run.record()["networks"]["student"]["test"]["top1"], statistics.median(seconds)


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--run", type=Path, default=Path("runs/teacher-views-study"))
    asked = parser.parse_args()
    progress_console().print("unlimited views first: their runs train the teachers")
    found = {
        views: [one_run(asked.recipe, asked.run, views, seed) for seed in range(asked.seeds)]
        for views in reversed(VIEWS)
    }
    base = statistics.median(seconds for _, seconds in found[None])
    print("| views of an image | test top-1 %, mean ± sd | seconds an epoch, × unlimited's |")
    print("| ---: | ---: | ---: |")
    for views in VIEWS:
        accuracy = [top1 for top1, _ in found[views]]
        spread = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
        ratio = statistics.median(seconds for _, seconds in found[views]) / base
        print(
            f"| {views or 'unlimited'} | {statistics.mean(accuracy):.2f} ± {spread:.2f} "
            f"| {ratio:.2f} |"
        )


if __name__ == "__main__":
    main()

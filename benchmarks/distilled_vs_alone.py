"""Does distillation help? One recipe's student, distilled and alone, over several seeds.

    python benchmarks/distilled_vs_alone.py recipes/digits.toml --seeds 5

Every arm has the same student, first weights, data, order, augmentation and number of epochs;
each seed has its own teacher. Runs are resumable: the same command goes on where it stopped.
Prints a Markdown table; the figures of every seed lie in FOLDER/distilled_vs_alone.json.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from scipy.stats import ttest_rel

from foundation.files import write_json
from pipeline.data.facts import read_facts
from pipeline.display import progress_console, training_display
from pipeline.networks import new_network, trained_teacher
from pipeline.recipe_file import RecipeFile, load_recipe
from pipeline.runs import start_run
from pipeline.steps.prepare import TrainingData, prepare
from pipeline.steps.teach import teach
from smskd import MethodSpec, Stage, distill, evaluate

ALONE, DISTILLED = "student alone", "SMSKD, the recipe's stages"


def arms(file: RecipeFile) -> dict[str, list[Stage]]:
    """What is compared; every arm has the epochs of all the recipe's stages together."""
    stages: list[Stage] = list(file.recipe.stages)
    first = stages[0]
    budget = sum(stage.epochs for stage in stages)
    no_methods = {"methods": (), "ce_weight": 1.0}
    return {
        ALONE: [replace_stage(first, epochs=budget, **no_methods)],
        "student alone, restarted as the stages are": [
            replace_stage(stage, **no_methods) for stage in stages
        ],
        "first stage's method alone": [replace_stage(first, epochs=budget)],
        "all methods at once": [
            replace_stage(first, epochs=budget, ce_weight=1.0, methods=tuple(all_methods(stages)))
        ],
        "SMSKD without reference": [replace_stage(stage, weighting="none") for stage in stages],
        DISTILLED: stages,
    }


def all_methods(stages: list[Stage]) -> list[MethodSpec]:
    """The methods of all stages as one weighted set."""
    return [method for stage in stages for method in stage.method_specs]


def replace_stage(stage: Stage, **changes: Any) -> Stage:
    """A stage with some keys changed, free of the recipe's own checks (an arm may lack methods)."""
    plain = Stage(**{name: getattr(stage, name) for name in Stage.__dataclass_fields__})
    return replace(plain, **changes)


def one_seed(recipe: Path, seed: int, folder: Path) -> dict[str, float]:
    """Test accuracy of the teacher and of every arm, in percent."""
    file = load_recipe(recipe, {"seed": seed})
    run = start_run(folder / f"seed-{seed}", file.recipe)
    data, console = TrainingData(file), progress_console()
    console.quiet = True
    prepare(run, data)
    with training_display(console, "") as display:
        teach(run, data, display)
    test = data.evaluation(data.splits.test)
    found = {"teacher": 100 * evaluate(trained_teacher(run), test)["top1"]}
    for name, stages in arms(file).items():
        student = new_network(file.recipe.student.model, read_facts(run.data), seed, "student")
        distill(
            trained_teacher(run),
            student,
            data.batches(data.splits.student_train, seed),
            stages,
            run.path / "arms" / name,
            seed=seed,
            engine=file.recipe.engine,
        )
        found[name] = 100 * evaluate(student, test)["top1"]
        print(f"seed {seed}  {name}: {found[name]:.2f} %", flush=True)
    return found


def table(seeds: dict[int, dict[str, float]]) -> str:
    """Mean and standard deviation over seeds, and a paired t-test against the student alone."""
    lines = [
        "| arm | test top-1 %, mean ± sd | against the student alone | p, paired t-test |",
        "| --- | ---: | ---: | ---: |",
    ]
    alone = [found[ALONE] for found in seeds.values()]
    for name in next(iter(seeds.values())):
        values = [found[name] for found in seeds.values()]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        gain = statistics.mean(values) - statistics.mean(alone)
        compared = "| – | – |"
        if name not in {"teacher", ALONE} and len(values) > 1:
            compared = f"| {gain:+.2f} | {ttest_rel(values, alone).pvalue:.3g} |"
        lines.append(f"| {name} | {statistics.mean(values):.2f} ± {spread:.2f} {compared}")
    return "\n".join(lines)


def main() -> None:
    """Run all seeds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("runs/distilled_vs_alone"))
    asked = parser.parse_args()
    seeds = {seed: one_seed(asked.recipe, seed, asked.folder) for seed in range(asked.seeds)}
    write_json(asked.folder / "distilled_vs_alone.json", seeds)
    print(table(seeds))


if __name__ == "__main__":
    main()

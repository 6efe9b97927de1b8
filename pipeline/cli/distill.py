"""compress distill: teacher and student."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli._app import JsonOption, RunOption, SetOption, TrustOption, app, present
from pipeline.cli._completion import complete_methods, complete_recipe
from pipeline.cli._options import METRIC_HELP, RecipeOption, recipe_changes, with_recipe
from pipeline.cli._recipes import recipe_file

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")

_OPTIONS = (
    RecipeOption("data.name", "data", "Dataset: a name, or folder:PATH, or table:PATH"),
    RecipeOption(
        "data.unlabelled",
        help="The images have no labels, whatever folders they lie in: the teacher alone says what "
        "they show",
    ),
    RecipeOption(
        "data.unlabelled_from",
        help="A folder of images without labels to learn from beside the others, folder:PATH",
    ),
    RecipeOption(
        "data.unlabelled_share",
        help="Share of each epoch's images that are of that folder, 0..1; each once unless said",
    ),
    RecipeOption(
        "data.classes",
        help="The classes in the order of the logits, such as imagenet1k, or a file with a name a "
        "line; the dataset's own, sorted, unless said",
    ),
    RecipeOption(
        "teacher.model",
        "teacher",
        "The teacher's model: a name, an ONNX file, or what answers pictures, "
        "function:package.module:name or command:PROGRAM ARGUMENTS",
    ),
    RecipeOption(
        "teacher.weights",
        "teacher_weights",
        "The teacher's weights: .safetensors, .pt, or torchvision:IMAGENET1K_V1",
    ),
    RecipeOption(
        "teacher.weights_key",
        "teacher_weights_key",
        "Which of several sets of weights in that file, such as model_ema",
    ),
    RecipeOption(
        "teacher.expect_top1",
        "teacher_expect_top1",
        "Percent of the test images that the teacher is known to answer rightly; an error where it "
        "does not here",
    ),
    RecipeOption(
        "teacher.preprocessing",
        "teacher_preprocessing",
        "Prepare the teacher's images as torchvision:WEIGHTS, timm:MODEL, imagenet, inception or a "
        "file has it; pretrained weights bring their own",
    ),
    RecipeOption(
        "data.preprocessing.source",
        "preprocessing",
        "Prepare images as one of these has it, for weights of one's own; a fresh student's are "
        "prepared as the teacher's",
    ),
    RecipeOption(
        "teacher_mix",
        help="How much each of several teachers counts for an image, beside its weight",
    ),
    RecipeOption("teacher.training.epochs", "teacher_epochs", "Epochs of the teacher's training"),
    RecipeOption(
        "data.teacher_views",
        help="Fixed views of each image; what the teacher says of them is kept",
    ),
    RecipeOption(
        "data.sampling",
        help="Draw images of rare classes more often: from all classes alike, or by the root of "
        "their counts",
    ),
    RecipeOption("student.model", "student", "The student's model"),
    RecipeOption(
        "student.prune",
        help="Share of the student's channels to take out before the first stage, 0..1",
    ),
    RecipeOption(
        "student.train_alone",
        help="Also train the same student on the labels alone, to tell what distillation gained",
    ),
    RecipeOption("metric", help=METRIC_HELP),
    RecipeOption("seed", help="Seed of everything random"),
    RecipeOption("engine.log", "log"),
)


class ClassWeights(StrEnum):
    """How images of rare classes count."""

    inverse = "inverse"
    sqrt = "sqrt"


def teachers_typed(models: list[str]) -> dict[str, Any]:
    """What one teacher, or several, are in a recipe; each of several is named after its file."""
    if len(models) < 2:
        return {"teacher.model": models[0]} if models else {}
    names = [_NOT_IN_A_NAME.sub("-", Path(m.rpartition(":")[2]).stem).strip("._-") for m in models]
    numbered = [
        name if name and names.count(name) == 1 else f"teacher-{number}"
        for number, name in enumerate(names, start=1)
    ]
    pairs = zip(numbered, models, strict=True)
    return {"teachers": [{"name": name, "model": model} for name, model in pairs]}


@app.command(
    cls=with_recipe(
        *_OPTIONS,
        rare=[
            "classes",
            "unlabelled_from",
            "unlabelled_share",
            "teacher_weights_key",
            "teacher_expect_top1",
            "teacher_preprocessing",
            "preprocessing",
            "teacher_views",
            "sampling",
            "class_weights",
            "logit_adjustment",
            "metric",
            "teacher_mix",
            "prune",
            "train_alone",
            "seed",
            "restarts",
            "tap",
        ],
        out=["log"],
    ),
    epilog="Examples:  compress distill digits  ·  "
    "compress distill --data folder:photos --teacher resnet20 --student resnet8 "
    "--stages at,kd,rkd --epochs 2  ·  compress distill digits --restarts  ·  "
    "compress distill --data folder:photos --teacher big.onnx --student resnet8  ·  "
    "compress distill --data folder:frames --teacher big.onnx --unlabelled  ·  "
    "compress distill --data cifar100 "
    "--teacher torchvision/resnet50 --teacher-views 8 --tap layer3  ·  "
    "torchrun --nproc-per-node 4 -m -- pipeline distill digits",
)
def distill(
    ctx: typer.Context,
    recipe: Annotated[
        Path | None,
        typer.Argument(
            help="A TOML file, or the name of a recipe that ships: compress recipes; defaults "
            "when left out.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    run: RunOption = None,
    stages: Annotated[
        str | None,
        typer.Option(
            help="Methods of the stages, in order: at,kd,rkd; at the end quant, which trains "
            "with 8-bit numbers (stages).",
            autocompletion=complete_methods,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of every stage (stages.N.epochs).")
    ] = None,
    restarts: Annotated[
        bool,
        typer.Option(
            "--restarts",
            help="Each stage on a schedule of the learning rate of its own, where they would "
            "share one (stages.N.schedule).",
        ),
    ] = False,
    class_weights: Annotated[
        ClassWeights | None,
        typer.Option(
            help="Count images of rare classes for more in the cross-entropy, of a teacher that is "
            "trained and of every stage: by 1 over their share, or over the root of it "
            "(teacher.training.class_weights, stages.N.class_weights)."
        ),
    ] = None,
    logit_adjustment: Annotated[
        float | None,
        typer.Option(
            metavar="TAU",
            help="Let rare classes win by more in training: adds TAU times the logarithm of each "
            "class's share to the logits, of a teacher that is trained and in every stage "
            "(teacher.training.logit_adjustment, stages.N.logit_adjustment).",
        ),
    ] = None,
    tap: Annotated[
        list[str] | None,
        typer.Option(
            help="Where features are compared: a submodule of both, or STUDENT=TEACHER; repeat "
            "it, from input to output (student.taps, teacher.taps)."
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="The teacher's model: a name, an ONNX file, or what answers pictures, "
            "function:package.module:name or command:PROGRAM ARGUMENTS (teacher.model). Repeat it "
            "for several finished ones, which teach together (teachers)."
        ),
    ] = None,
    set: SetOption = None,
    trust_code: TrustOption = False,  # noqa: ARG001 - its callback takes it
    json: JsonOption = False,
) -> None:
    """Train the teacher if there is none, then take the student through the stages.

    Run again, it goes on after the last finished epoch and ends with the same weights.
    """
    from pipeline.recipe.file import load_recipe, parse_override  # noqa: PLC0415
    from pipeline.recipe.sections.recipe import own_schedules  # noqa: PLC0415

    overrides = recipe_changes(ctx)
    overrides |= teachers_typed(teacher or [])
    if tap:
        # One name stands for both networks.
        overrides["student.taps"] = [name.partition("=")[0] for name in tap]
        overrides["teacher.taps"] = [name.rpartition("=")[2] for name in tap]
    if stages is not None:
        overrides["stages"] = [{"methods": name.strip()} for name in stages.split(",")]
    overrides.update(map(parse_override, set or []))
    path = recipe_file(recipe) if recipe else None
    file = load_recipe(path, overrides)
    places = [f"stages.{number}" for number in range(len(file.recipe.stages))]
    if epochs is not None:
        overrides |= {f"{place}.epochs": epochs for place in places}
        file = load_recipe(path, overrides)
    rare = {"class_weights": class_weights, "logit_adjustment": logit_adjustment}
    if set_for_rare := {key: value for key, value in rare.items() if value is not None}:
        for place in ("teacher.training", *places):
            overrides |= {f"{place}.{key}": value for key, value in set_for_rare.items()}
        file = load_recipe(path, overrides)
    if restarts:
        # What was typed stays.
        overrides = {**overrides, **own_schedules(file.recipe), **overrides}
        file = load_recipe(path, overrides)
    # After the recipe, so that a misspelt key is told of at once and not after importing torch.
    from pipeline.commands.distill import distill_only  # noqa: PLC0415

    outcome = distill_only(file, run)
    present(outcome, json)

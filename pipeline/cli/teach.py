"""compress teach: a teacher for one's own images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, RunOption, SetOption, TrustOption, app, present
from pipeline.cli._completion import complete_recipe
from pipeline.cli._options import RecipeOption, recipe_changes, with_recipe
from pipeline.cli._recipes import recipe_file

_OPTIONS = (
    RecipeOption("data.name", "data", "Dataset: a name, or folder:PATH, or table:PATH"),
    RecipeOption(
        "data.classes",
        help="The classes in the order of the logits, such as imagenet1k, or a file with a name a "
        "line; the dataset's own, sorted, unless said",
    ),
    RecipeOption(
        "teacher.model",
        "teacher",
        "The network: torchvision/resnet50, timm/NAME, or package.module:factory",
    ),
    RecipeOption(
        "teacher.training.weights",
        "weights",
        "What it begins with: torchvision:DEFAULT, timm:pretrained, or a .safetensors or .pt file "
        "of its model, of any classes; its library's own choice unless said; none: from the "
        "beginning",
    ),
    RecipeOption(
        "teacher.weights_key",
        "weights_key",
        "Which of several sets of weights in that file, such as model_ema",
    ),
    RecipeOption(
        "teacher.head",
        "head",
        "The layer that gives the logits, which is made anew for these classes; found unless said",
    ),
    RecipeOption(
        "teacher.preprocessing",
        "teacher_preprocessing",
        "Prepare images as torchvision:WEIGHTS, timm:MODEL, imagenet, inception or a file has it; "
        "pretrained weights bring their own",
    ),
    RecipeOption("teacher.training.epochs", "epochs", "Epochs in which all of it learns, at most"),
    RecipeOption(
        "teacher.training.head_epochs", help="Epochs before that, in which the new layer learns"
    ),
    RecipeOption(
        "teacher.training.head_lr", help="Its learning rate in these; ten times --lr unless said"
    ),
    RecipeOption(
        "teacher.training.layer_decay",
        help="Learning rate of each group of layers against the group above it, 0..1",
    ),
    RecipeOption("teacher.training.lr", help="Learning rate of the layer at the end, at its peak"),
    RecipeOption(
        "teacher.training.patience",
        help="End after so many epochs without a better one on the validation images; 0: do not",
    ),
    RecipeOption(
        "teacher.training.ema_epochs",
        help="Hand on a running mean of the weights over about so many epochs; 0: do not",
    ),
    RecipeOption("data.batch_size", help="Images a training step"),
    RecipeOption("seed", help="Seed of everything random"),
    RecipeOption("engine.log", "log"),
)


@app.command(
    cls=with_recipe(
        *_OPTIONS,
        rare=[
            "classes",
            "weights_key",
            "head",
            "teacher_preprocessing",
            "head_epochs",
            "head_lr",
            "layer_decay",
            "lr",
            "ema_epochs",
            "batch_size",
            "seed",
        ],
        out=["log"],
    ),
    epilog="Examples:  compress teach --data folder:photos --teacher torchvision/resnet50 "
    "--run runs/photos  ·  compress teach --data folder:photos --teacher timm/convnext_tiny "
    "--epochs 30 --patience 8  ·  compress teach --data folder:photos "
    "--teacher torchvision/resnet50 --weights resnet50.pth  ·  compress teach mine.toml  ·  "
    "then: compress distill --data folder:photos --teacher runs/photos --student resnet8",
)
def teach(
    ctx: typer.Context,
    recipe: Annotated[
        Path | None,
        typer.Argument(
            help="A TOML file, or the name of a recipe that ships: compress recipes; defaults "
            "when left out.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|HxW",
            help="Height and width that it takes, such as 96 or 32x64; that of its weights unless "
            "said (data.image_size).",
        ),
    ] = None,
    run: RunOption = None,
    set: SetOption = None,
    trust_code: TrustOption = False,  # noqa: ARG001 - its callback takes it
    json: JsonOption = False,
) -> None:
    """Make a teacher for your images: fine-tune a network that others have trained.

    A new last layer learns first, then all of the network, its first layers the slowest, until the
    validation images say that it gets no better. `compress distill --teacher RUN` takes it as it
    is. Run again, it goes on after the last finished epoch and ends with the same weights.
    """
    from pipeline.recipe.file import load_recipe, parse_override  # noqa: PLC0415
    from pipeline.training.foreign_models import parse_sides  # noqa: PLC0415

    sides = {} if image_size is None else {"data.image_size": parse_sides(image_size)}
    overrides = {**recipe_changes(ctx), **sides, **dict(map(parse_override, set or []))}
    path = recipe_file(recipe) if recipe else None
    file = load_recipe(path, overrides)
    # After the recipe, so that a misspelt key is told of at once and not after importing torch.
    from pipeline.commands.teach import teach_only, weights_to_begin_with  # noqa: PLC0415

    usual = weights_to_begin_with(file)
    if usual is not None:
        file = load_recipe(path, {"teacher.training.weights": usual, **overrides})
    present(teach_only(file, run), json)

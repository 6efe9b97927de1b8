"""compress export: bundles for a target."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, RunOption, SetOption, TrustOption, app, present
from pipeline.cli._options import METRIC_HELP, RecipeOption, recipe_changes, with_recipe

_OF_FOREIGN = (
    RecipeOption(
        "data.classes",
        help="Of a network from elsewhere: its classes in the order of its logits, such as "
        "imagenet1k, or a file with a name a line; folders and labels are found there by id, name "
        "or number",
    ),
    RecipeOption(
        "data.preprocessing.source",
        "preprocessing",
        help="Of a network from elsewhere: prepare images as torchvision:WEIGHTS, timm:MODEL, "
        "imagenet, inception or a file has it; pretrained weights bring their own",
    ),
    RecipeOption(
        "student.weights_key",
        help="Of weights: which of several sets in the file, such as model_ema",
    ),
    RecipeOption("student.input_shapes"),
    RecipeOption(
        "student.expect_top1",
        help="Of a network from elsewhere: percent of the test images that it is known to answer "
        "rightly; an error where it does not here",
    ),
)


@app.command(
    cls=with_recipe(
        *_OF_FOREIGN,
        RecipeOption("metric", help=METRIC_HELP),
        RecipeOption(
            "bench.host",
            help="Where --precision auto times the bundles against each other, where that is a "
            "machine of the target's kind: local, or ssh://user@host:port",
        ),
        section="export",
        rare=[
            "metric",
            "max_trials",
            "tolerated_drop",
            "teacher",
            "weights_key",
            "expect_top1",
            "input_shape",
            "scorer",
        ],
        metavars={"embed_preprocessing": "[normalise|resize|none]"},
        bare={
            "--embed-preprocessing": ("--embed-preprocessing", "normalise"),
            "--no-embed-preprocessing": ("--embed-preprocessing", "none"),
        },
    ),
    epilog="Examples:  compress export --target rpi  ·  "
    "compress export runs/digits --target local --format onnx --precision int8  ·  "
    "compress export runs/digits --target local --precision auto --max-drop 0.5  ·  "
    "compress export runs/digits --target rpi --precision auto --host ssh://pi@kitchen  ·  "
    "compress export weights.pt --model torchvision/resnet18 --data folder:photos --target rpi  ·  "
    "compress export weights.pt --model torchvision/resnet50 --preprocessing "
    "torchvision:IMAGENET1K_V2 --data folder:photos  ·  "
    "compress export mine.models:net --data folder:photos  ·  "
    "compress export model.onnx --data folder:val --classes imagenet1k  ·  "
    "compress export model.onnx --data folder:photos --precision auto  ·  "
    "compress export detector.onnx --data arrays:samples.npz --target rpi  ·  "
    "compress export segmenter.onnx --data loader:mine:samples --scorer mine:iou --max-drop 1",
)
def export(
    ctx: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            help="A run folder, the one used last when left out; or weights from elsewhere "
            "(student.weights); or module:factory or an ONNX file (student.model)."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Of weights: the model that they are of (student.model).")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Of a network from elsewhere: images to calibrate and to judge it on, a dataset "
            "or folder:PATH or table:PATH; of an ONNX graph that is no classifier, arrays:PATH "
            "(.npz files, an array an input) or loader:module:function (data.name)."
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|HxW",
            help="Height and width that it takes, such as 224 or 32x64; an ONNX file tells its "
            "own (data.image_size).",
        ),
    ] = None,
    run: RunOption = None,
    set: SetOption = None,
    trust_code: TrustOption = False,  # noqa: ARG001 - its callback takes it
    json: JsonOption = False,
) -> None:
    """Export a student: ONNX and OpenVINO, FP32 to INT8, each held against the original.

    A network from elsewhere gets a run folder too, so that bench, report and gate work on it.
    """
    from pipeline.recipe.file import load_recipe, parse_override  # noqa: PLC0415
    from pipeline.training.foreign_models import foreign_source, run_to_export  # noqa: PLC0415

    changes, further = recipe_changes(ctx), dict(map(parse_override, set or []))
    foreign = foreign_source(source, model)
    if foreign is None:
        others = {
            "--data": data,
            "--image-size": image_size,
            "--classes": changes.get("data.classes"),
            "--preprocessing": changes.get("data.preprocessing.source"),
            "--weights-key": changes.get("student.weights_key"),
            "--expect-top1": changes.get("student.expect_top1"),
            "--input-shape": changes.get("student.input_shapes"),
            "--set": set,
        }
        path = run_to_export(source, run, others)
        from pipeline.commands.export import export_only  # noqa: PLC0415

        outcome = export_only(path, changes)
    else:
        keys = {**foreign.recipe_keys(data, image_size), **changes, **further}
        file = load_recipe(None, keys)
        from pipeline.commands.adopt import adopt_and_export  # noqa: PLC0415

        outcome = adopt_and_export(file, run)
    present(outcome, json)

"""compress export: bundles for a target."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipeline.cli._app import JsonOption, RunOption, SetOption, TrustOption, app, present


@app.command(
    epilog="Examples:  compress export --target rpi  ·  "
    "compress export runs/digits --target local --format onnx --precision int8  ·  "
    "compress export runs/digits --target local --precision auto --max-drop 0.5  ·  "
    "compress export weights.pt --model torchvision/resnet18 --data folder:photos --target rpi  ·  "
    "compress export mine.models:net --data folder:photos  ·  "
    "compress export model.onnx --data folder:photos --precision auto",
)
def export(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A run folder, the one used last when left out; or weights from elsewhere "
            "(student.weights); or module:factory or an ONNX file (student.model)."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Device class, or path of a profile; may be repeated (export.targets)."),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(help="onnx, openvino; may be repeated (export.formats)."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="fp32, fp16, bf16, int8; may be repeated. auto: try them, time them against each "
            "other and say which ships (export.precisions)."
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Points of validation accuracy that lower precision may cost; operators stay in "
            "floating point until it holds (export.max_drop)."
        ),
    ] = None,
    max_trials: Annotated[
        int | None,
        typer.Option(help="Bundles of a format tried for that at most (export.max_trials)."),
    ] = None,
    tolerated_drop: Annotated[
        float | None,
        typer.Option(
            help="Points of test accuracy beyond which a bundle of lower precision is refused "
            "(export.tolerated_drop)."
        ),
    ] = None,
    embed_preprocessing: Annotated[
        bool | None,
        typer.Option(
            "--embed-preprocessing/--no-embed-preprocessing",
            help="Models take uint8 images, NHWC, and prepare them (export.embed_preprocessing).",
        ),
    ] = None,
    teacher: Annotated[
        bool | None,
        typer.Option("--teacher/--no-teacher", help="Also the teacher (export.teacher)."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Of weights: the model that they are of (student.model).")
    ] = None,
    weights_key: Annotated[
        str | None,
        typer.Option(
            help="Of weights: which of several sets in the file, such as model_ema "
            "(student.weights_key)."
        ),
    ] = None,
    expect_top1: Annotated[
        float | None,
        typer.Option(
            help="Of a network from elsewhere: percent of the test images that it is known to "
            "answer rightly; an error where it does not here (student.expect_top1)."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Of a network from elsewhere: images to calibrate and to judge it on, a dataset "
            "or folder:PATH (data.name)."
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

    asked: dict[str, Any] = {
        "targets": target,
        "formats": format,
        "precisions": precision,
        "max_drop": max_drop,
        "max_trials": max_trials,
        "tolerated_drop": tolerated_drop,
        "embed_preprocessing": embed_preprocessing,
        "teacher": teacher,
    }
    asked = {key: value for key, value in asked.items() if value is not None}
    told = {"weights_key": weights_key, "expect_top1": expect_top1}
    further = dict(map(parse_override, set or []))
    foreign = foreign_source(source, model)
    if foreign is None:
        others = {
            "--data": data,
            "--image-size": image_size,
            "--weights-key": weights_key,
            "--expect-top1": expect_top1,
            "--set": set,
        }
        path = run_to_export(source, run, others)
        from pipeline.commands.export import export_only  # noqa: PLC0415

        outcome = export_only(path, asked)
    else:
        overrides = {
            **foreign.recipe_keys(data, image_size),
            **{f"student.{key}": value for key, value in told.items() if value is not None},
            **{f"export.{key}": value for key, value in asked.items()},
            **further,
        }
        file = load_recipe(None, overrides)
        from pipeline.commands.export import adopt_and_export  # noqa: PLC0415

        outcome = adopt_and_export(file, run)
    present(outcome, json)

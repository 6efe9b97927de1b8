"""compress export: bundles for a target."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipeline.cli._app import JsonOption, RunArgument, app, present


@app.command(
    epilog="Examples:  compress export --target rpi  ·  "
    "compress export runs/digits --target local --format onnx --precision int8",
)
def export(
    run: RunArgument = None,
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
        typer.Option(help="fp32, fp16, int8; may be repeated (export.precisions)."),
    ] = None,
    teacher: Annotated[
        bool | None,
        typer.Option("--teacher/--no-teacher", help="Also the teacher (export.teacher)."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Export a run's student: ONNX and OpenVINO, FP32 to INT8, each held against the original."""
    from pipeline.road import export_only  # noqa: PLC0415

    asked: dict[str, Any] = {
        "targets": target,
        "formats": format,
        "precisions": precision,
        "teacher": teacher,
    }
    outcome = export_only(run, {key: value for key, value in asked.items() if value is not None})
    present(outcome, json)

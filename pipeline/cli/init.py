"""compress init: a recipe of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli._app import app, present
from pipeline.cli._completion import complete_target
from pipeline.cli._panels import ASKED, COMES_OUT


@app.command(
    epilog="Examples:  compress init  ·  compress init --data photos --target rpi4  ·  "
    "compress init --data photos --teacher torchvision/resnet50 --teacher-weights weights.pt "
    "--target rpi4 --out mine.toml --yes",
)
def init(
    data: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ASKED,
            help="The folder with your images, a folder a class; or a table of images, or a "
            "dataset of `compress datasets`.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ASKED,
            help="The network that teaches: a model's name (`compress models torchvision/`), an "
            "ONNX file, a bundle, or weights that note their network; guessed if unset.",
        ),
    ] = None,
    teacher_weights: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ASKED,
            help="The teacher's weights: .safetensors, .pt, or torchvision:IMAGENET1K_V1; it is "
            "trained first if unset.",
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ASKED, help="The student's model; guessed from the target if unset."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ASKED,
            help="Device class, or path of a profile; this machine if unset.",
            autocompletion=complete_target,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=COMES_OUT,
            help="The recipe to write; called like the images if unset.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", rich_help_panel=COMES_OUT, help="Write over a file that is there."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", rich_help_panel=COMES_OUT, help="Print the result as JSON.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", rich_help_panel=ASKED, help="Ask nothing; guess what was not said."),
    ] = False,
) -> None:
    """Write a recipe for your own images: look at them and at the teacher, guess the rest, say so.

    At a terminal it asks for what was not said; elsewhere, and with --yes or --json, it guesses.
    """
    from foundation.errors import UsageError  # noqa: PLC0415

    if not (yes or json) and _is_somebody_there():
        data = data or _answer("Images (a folder with a folder a class)")
        teacher = teacher or _answer("Teacher (a model, weights or an ONNX file; empty: guessed)")
        student = student or _answer("Student (a model; empty: guessed from the target)")
        target = target or _answer("Target (compress targets; empty: this machine)")
    if data is None:
        raise UsageError("no images are named; name the folder that they lie in with --data")
    from pipeline.commands.init import command  # noqa: PLC0415 - torch
    from pipeline.commands.init.plan import Asked  # noqa: PLC0415

    asked = Asked(
        images=data,
        teacher=teacher,
        weights=teacher_weights,
        student=student,
        target=target or "local",
        out=out,
        force=force,
    )
    present(command.init(asked), json)


def _is_somebody_there() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _answer(question: str) -> str | None:
    """What a person types; None for nothing."""
    return typer.prompt(question, default="", show_default=False, err=True).strip() or None

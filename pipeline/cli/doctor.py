"""compress doctor: what works here, and what does not."""

from __future__ import annotations

import typer

from pipeline.cli._app import JsonOption, app, present


@app.command(epilog="Example:  compress doctor")
def doctor(json: JsonOption = False) -> None:
    """Tell what is installed, which CPU features matter for INT8 here, and what will not work.

    Exit code 21 when something needed does not work.
    """
    from foundation.errors import HostError  # noqa: PLC0415
    from pipeline.commands.doctor import examine  # noqa: PLC0415

    outcome = examine()
    present(outcome, json)
    raise typer.Exit(0 if outcome.passed else HostError.exit_code)

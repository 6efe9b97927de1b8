"""compress datasets: what can be learned from."""

from __future__ import annotations

from pipeline.cli._app import JsonOption, app, present


@app.command(epilog="Example:  compress datasets")
def datasets(json: JsonOption = False) -> None:
    """List the datasets and what each needs behind its name."""
    from pipeline.commands.catalogue import datasets_table  # noqa: PLC0415

    present(datasets_table(), json)

"""compress models: the networks."""

from __future__ import annotations

from pipeline.cli._app import JsonOption, app, present


@app.command(epilog="Example:  compress models")
def models(json: JsonOption = False) -> None:
    """List the registered models; any "package.module:factory" works too."""
    from pipeline.catalogue import models_table  # noqa: PLC0415

    present(models_table(), json)

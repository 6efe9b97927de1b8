"""Names from elsewhere are shown as they are, in results and in remarks."""

from __future__ import annotations

import pytest
from rich.table import Table

from pipeline.shown.console import progress_console, remarks_on
from pipeline.shown.outcome import result_console
from pipeline.shown.words import safe

NAMES = [":cat:", ":100:", "[red]ripe[/red]", "a [bold] :warning: sign"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_neither_markup_nor_a_picture(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    remarks_on(progress_console())(f"class {name} has no image")
    table = Table("class")
    table.add_row(safe(name))
    result_console().print(table)
    shown = capsys.readouterr()
    assert f"class {name} has no image" in shown.err
    assert name in shown.out

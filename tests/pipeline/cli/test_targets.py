"""compress targets, as a user reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy_targets.targets import load_target, shipped_names
from pipeline.cli import app


def shown(*arguments: str) -> str:
    said = CliRunner().invoke(app, ["targets", *arguments], env={"COLUMNS": "300"})
    assert said.exit_code == 0, said.output
    return said.output


@pytest.mark.parametrize("name", shipped_names())
def test_a_target_is_shown_whole_with_the_source_of_each_fact(name: str) -> None:
    text = " ".join(shown(name).replace("│", " ").split())
    target = load_target(name)
    assert target.name in text
    for fact, source in target.sources.items():
        assert fact in text
        assert source.split()[-1] in text
    (told,) = json.loads(shown(name, "--json"))["targets"]
    assert told["profile"]["sources"] == target.sources
    assert told["peak_gops"] == target.peak_gops(target.threads or 1)


def test_profiles_of_ones_own_are_listed_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_TARGETS", str(tmp_path))
    (tmp_path / "door.toml").write_text('alias_of = "rpi3"\n')
    listed = {one["name"]: one for one in json.loads(shown("--json"))["targets"]}
    assert listed["door"]["shipped"] is False
    assert listed["rpi"]["shipped"] is True
    assert [listed[name]["profile"]["name"] for name in ("rpi", "door")] == ["rpi5", "rpi3"]
    (row,) = (line for line in shown().splitlines() if " door " in line)
    assert "(yours)" in row
    assert str(tmp_path) in shown()


def test_the_docs_table_has_every_target() -> None:
    table = (Path(__file__).parents[3] / "docs" / "targets.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in table.splitlines() if line.startswith("| `"))
    for name in shipped_names():
        assert f"`{name}`" in rows

"""Every `--json` prints a record with a kind, a version and a published schema.

`Said.json()` holds each one that a test reads against its schema; here are the commands whose tests
read none, and the list that none may be missing from.
"""

from __future__ import annotations

import json

import pytest
import typer
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands.schemas import RECORDS, schemas
from pipeline.run_folder.folder import RunFolder

KINDS = {
    "bench": {"bench", "fleet-bench"},
    "bundle pack": {"packed-bundle"},
    "bundle unpack": {"unpacked-bundle"},
    "bundle verify": {"verification"},
    "datasets": {"datasets"},
    "device check": {"device-check"},
    "device clean": {"device-clean"},
    "device list": {"devices"},
    "device setup": {"device-setup"},
    "distill": {"distillation"},
    "doctor": {"doctor"},
    "estimate": {"estimates"},
    "explain": {"exit-codes"},
    "export": {"export"},
    "gate": {"verdict", "gate-history"},
    "init": {"init"},
    "methods": {"methods"},
    "models": {"models"},
    "recipes": {"recipes"},
    "report": {"report"},
    "run": {"run"},
    "runs compare": {"runs-compared"},
    "runs list": {"runs"},
    "runs remove": {"runs"},
    "runs show": {"runs"},
    "runs tag": {"runs"},
    "search": {"search"},
    "study": {"study"},
    "targets": {"targets"},
    "teach": {"teacher"},
}


def with_json(command: typer.core.TyperGroup, name: str = "") -> list[str]:
    """Commands, and those of groups, that have the option."""
    found = []
    for key, one in command.commands.items():
        full = f"{name} {key}".strip()
        if hasattr(one, "commands"):
            found += with_json(one, full)
        elif any("--json" in option.opts for option in one.params):
            found.append(full)
    return found


def test_every_command_that_prints_json_has_kinds_with_a_schema() -> None:
    assert set(with_json(typer.main.get_command(app))) == set(KINDS)
    assert {kind for kinds in KINDS.values() for kind in kinds} <= set(RECORDS)


@pytest.mark.parametrize(
    "command",
    [
        "datasets", "methods", "methods rkd", "models", "models torchvision/resnet18", "targets",
        "targets rpi", "device list", "recipes", "recipes digits",
    ],
)  # fmt: skip
def test_what_is_listed_fits_its_schema(command: str) -> None:
    said = CliRunner().invoke(app, [*command.split(), "--json"])
    assert said.exit_code == 0, said.output
    found = json.loads(said.output)
    assert found["kind"] in KINDS[command if command in KINDS else command.split(maxsplit=1)[0]]
    Draft202012Validator(schemas()[f"{found['kind']}.schema.json"]).validate(found)


def test_bundles_are_packed_and_unpacked_with_a_record_each(
    own: RunFolder, forked, tmp_path
) -> None:
    packed = forked("bundle", "pack", own.bundles / "local-onnx-int8", "--json", cwd=tmp_path)
    assert packed.json()["kind"] == "packed-bundle"
    said = forked(
        "bundle", "unpack", packed.json()["file"], "--out", "there", "--json", cwd=tmp_path
    )
    assert said.json()["kind"] == "unpacked-bundle"

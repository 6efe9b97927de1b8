"""The published schemas: current, sound, and kept by what the product really writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from foundation.records import as_dict
from pipeline.commands.schemas import DEFAULT_FOLDER, RECORDS, schemas
from pipeline.gating.evidence import evidence_of

ROOT = Path(__file__).parents[3]


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(
        json.loads((ROOT / DEFAULT_FOLDER / f"{name}.schema.json").read_text())
    )


def test_the_published_schemas_are_those_of_the_code() -> None:
    published = {
        path.name: json.loads(path.read_text()) for path in (ROOT / DEFAULT_FOLDER).glob("*.json")
    }
    assert published == schemas(), "run `python -m pipeline.commands.schemas`"


@pytest.mark.parametrize("name", RECORDS)
def test_a_schema_is_itself_valid_and_says_its_version(name: str) -> None:
    schema = schemas()[f"{name}.schema.json"]
    Draft202012Validator.check_schema(schema)
    assert isinstance(schema["properties"]["schema_version"]["const"], int)
    assert "schema_version" in schema["required"]
    assert schema["description"]


def test_what_a_run_leaves_fits_the_schemas(road) -> None:
    run = road.run
    for path in run.measurement_paths():
        validator("measurement").validate(json.loads(path.read_text()))
    for folder in run.bundle_folders():
        validator("bundle").validate(json.loads((folder / "bundle.json").read_text()))
    validator("verdict").validate(json.loads(run.verdict_path.read_text()))
    assert evidence_of(run).measurements


def test_what_does_not_fit_is_told(road) -> None:
    raw = json.loads(road.run.measurement_paths()[0].read_text())
    for change in ({"schema_version": 1}, {"more": 1}, {"latency_ms": {}}, {"validity": None}):
        with pytest.raises(ValidationError):
            validator("measurement").validate(raw | change)


def test_a_comparison_fits_its_schema(compared, measured) -> None:
    found = compared(measured(), measured("other"), [1.0] * 8, percentiles={"p90": [1.0] * 8})
    validator("comparison").validate(json.loads(json.dumps(as_dict(found))))

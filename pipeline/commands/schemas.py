"""JSON Schemas of all that is printed or kept for machines: `python -m pipeline.commands.schemas`.

They are made from the very dataclasses that the files are written from and read into, so they can
not say anything else. A field's words come from its class's docstring.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy_targets.comparison import Comparison
from deploy_targets.estimating.estimate import Estimate
from deploy_targets.measurement import Measurement
from deploy_targets.operator_profile import OperatorProfile
from deploy_targets.submission import Submission
from deploy_targets.sustained import Sustained
from foundation.explanations import explanations
from foundation.files import write_json
from foundation.manifest import GraphManifest, Manifest
from pipeline.commands.bench import BenchOutcome
from pipeline.commands.bundle import Packed, Unpacked, Verification
from pipeline.commands.catalogue import (
    DatasetsShown,
    MethodsShown,
    ModelsShown,
    RecipesShown,
    TargetsShown,
)
from pipeline.commands.device import DevicesChecked, DevicesCleared, DevicesKnown, DevicesSetUp
from pipeline.commands.doctor import Examination
from pipeline.commands.estimate import Estimates
from pipeline.commands.explain import ExitCodesShown
from pipeline.commands.fleet import FleetOutcome
from pipeline.commands.init.command import InitOutcome
from pipeline.commands.outcomes import (
    DistillOutcome,
    ExportOutcome,
    ReportOutcome,
    RunOutcome,
    TeachOutcome,
)
from pipeline.commands.runs import RunsCompared, RunsShown
from pipeline.commands.versions import Versions
from pipeline.exporting.choice import Shipping
from pipeline.gating.history import HistoryLine, HistoryShown
from pipeline.gating.verdict import Verdict
from pipeline.run_folder.network_scores import NetworkScores
from pipeline.search.record import SearchRecord
from pipeline.study.record import StudyRecord

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DEFAULT_FOLDER = Path("docs/schemas")

_SCALARS: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    types.NoneType: "null",
}


# What is kept in files, and what commands print.
RECORDS: Mapping[str, type] = {
    "bundle": Manifest,
    "class-scores": NetworkScores,
    "graph-bundle": GraphManifest,
    "comparison": Comparison,
    "estimate": Estimate,
    "measurement": Measurement,
    "operator-times": OperatorProfile,
    "search": SearchRecord,
    "shipping": Shipping,
    "study": StudyRecord,
    "submission": Submission,
    "sustained": Sustained,
    "verdict": Verdict,
    "gate-history-line": HistoryLine,
    "bench": BenchOutcome,
    "datasets": DatasetsShown,
    "device-check": DevicesChecked,
    "device-clean": DevicesCleared,
    "device-setup": DevicesSetUp,
    "devices": DevicesKnown,
    "distillation": DistillOutcome,
    "doctor": Examination,
    "estimates": Estimates,
    "exit-codes": ExitCodesShown,
    "export": ExportOutcome,
    "fleet-bench": FleetOutcome,
    "gate-history": HistoryShown,
    "init": InitOutcome,
    "methods": MethodsShown,
    "models": ModelsShown,
    "packed-bundle": Packed,
    "recipes": RecipesShown,
    "runs": RunsShown,
    "runs-compared": RunsCompared,
    "report": ReportOutcome,
    "run": RunOutcome,
    "targets": TargetsShown,
    "teacher": TeachOutcome,
    "unpacked-bundle": Unpacked,
    "verification": Verification,
    "versions": Versions,
}


def schema_of(record: type, name: str) -> Schema:
    """The JSON Schema of a record's files.

    Args:
        record: a dataclass that `foundation.records.build` could build.
        name: the schema's file is NAME.schema.json.
    """
    definitions: dict[str, Schema] = {}
    top = _object(record, definitions)
    for key in ("schema_version", "kind"):
        default = _defaults(record).get(key)
        if default is not None:
            top["properties"][key] = {**top["properties"][key], "const": default}
            top["required"] = sorted({*top["required"], key})
    schema = {"$schema": DIALECT, "$id": f"{name}.schema.json", "title": name, **top}
    return {**schema, "$defs": dict(sorted(definitions.items()))} if definitions else schema


def schemas() -> dict[str, Schema]:
    """All schemas, by the names of their files."""
    return {f"{name}.schema.json": schema_of(record, name) for name, record in RECORDS.items()}


def _object(record: type, definitions: dict[str, Schema]) -> Schema:
    hints = typing.get_type_hints(record)
    words: dict[str, str] = {}
    for kind in reversed(record.__mro__):  # what a class says of a field comes before its base
        words |= explanations(kind)
    properties, required = {}, []
    for field in dataclasses.fields(record):
        key = field.name.rstrip("_")
        schema = _type(hints[field.name], definitions)
        if field.name in words:
            schema = {"description": words[field.name], **schema}
        properties[key] = schema
        if field.default is field.default_factory is dataclasses.MISSING:
            required.append(key)
    return {
        "description": _summary(record),
        "type": "object",
        "properties": properties,
        "required": sorted(required),
        "additionalProperties": False,
    }


def _type(hint: Any, definitions: dict[str, Schema]) -> Schema:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint in _SCALARS:
        return {"type": _SCALARS[hint]} if hint in _SCALARS else {}
    if dataclasses.is_dataclass(hint):
        return _reference(typing.cast(type, hint), definitions)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in {types.UnionType, typing.Union}:
        return _one_of([_type(part, definitions) for part in arguments])
    assert origin in {list, dict}, f"no schema for {hint}"
    inside = _type(arguments[-1], definitions)
    if origin is list:
        return {"type": "array", "items": inside}
    return {"type": "object", "additionalProperties": inside}


def _reference(record: type, definitions: dict[str, Schema]) -> Schema:
    if record.__name__ not in definitions:
        definitions[record.__name__] = {}  # in its place before it is looked into: no endless loop
        definitions[record.__name__] = _object(record, definitions)
    return {"$ref": f"#/$defs/{record.__name__}"}


def _one_of(parts: list[Schema]) -> Schema:
    if all(set(part) == {"type"} for part in parts):
        return {"type": [part["type"] for part in parts]}
    return {"anyOf": parts}


def _defaults(record: type) -> dict[str, Any]:
    return {
        field.name: field.default
        for field in dataclasses.fields(record)
        if field.default is not dataclasses.MISSING
    }


def _summary(record: type) -> str:
    return " ".join(inspect.cleandoc(record.__doc__ or "").split("\n\n")[0].split())


def main() -> None:
    """Write all schemas to a folder."""
    parser = argparse.ArgumentParser(description="Write the JSON Schemas of all records.")
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER)
    folder = parser.parse_args().folder
    for name, schema in schemas().items():
        write_json(folder / name, schema)
        print(folder / name)


if __name__ == "__main__":
    main()

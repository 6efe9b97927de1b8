"""The JSON schemas of all that is printed or kept for machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from _reference.markdown import cell, page, table, words
from pipeline.commands.schemas import RECORDS, schemas

_FILES = Path(__file__).parents[1] / "schemas"


def pages() -> dict[str, str]:
    """A page with all kinds, and one for each with its fields."""
    every = {name.removesuffix(".schema.json"): schema for name, schema in schemas().items()}
    rows = [[f"[{kind}](schemas/{kind}.md)", words(every[kind]["description"])] for kind in RECORDS]
    return {
        "schemas.md": page(
            "JSON schemas",
            "Whatever a command prints with `--json`, and every file of results, is an object with "
            "a `kind` and a `schema_version`. The schemas are made from the dataclasses that the "
            "records are written from and read into (JSON Schema, draft 2020-12).",
            table(["kind", "what it is"], rows),
        ),
        **{f"schemas/{kind}.md": _page(kind, schema) for kind, schema in every.items()},
    }


def copy_files(folder: Path, copy: Callable[[Path, Path], object]) -> None:
    """Bring the schemas' own files beside their pages, which link to them."""
    for kind in RECORDS:
        copy(_FILES / f"{kind}.schema.json", folder / f"{kind}.schema.json")


def _page(kind: str, schema: dict[str, Any]) -> str:
    parts = [
        f"## {name}\n\n{words(one.get('description', ''))}\n\n{_fields(one)}"
        for name, one in schema.get("$defs", {}).items()
    ]
    link = f"The schema as a file: {{download}}`{kind}.schema.json`"
    return page(kind, words(schema["description"]), link, _fields(schema), *parts)


def _fields(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    rows = [
        [
            cell(name),
            _kind(one),
            "yes" if name in required else "",
            words(one.get("description", "")),
        ]
        for name, one in schema.get("properties", {}).items()
    ]
    return table(["field", "type", "always there", "what it is"], rows) if rows else ""


def _kind(schema: dict[str, Any]) -> str:
    """The type of a field in words, with links to the records that it holds."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " or ".join(cell(repr(one)) for one in schema.get("enum", [schema.get("const")]))
    inside = schema.get("additionalProperties")
    if isinstance(inside, dict):
        return f"{_kind(inside)} by name"
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_kind(schema['items'])}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)

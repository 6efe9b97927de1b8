"""What a report's page tells beyond the figures: answers, errors of layers, what stages left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundation.answers import ANSWERS, Answers, read_answers
from foundation.files import sha256_of
from foundation.sense import at_least
from pipeline.data.facts import TEST, DataFacts, read_facts
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.records import RetentionRecord, Table, read_table

LAYERS = "layers.json"
_AGAIN = "delete it and run `compress export` again"


@dataclass(frozen=True, kw_only=True)
class LayerRecord(Table):
    """How far an operator's output is from FP32's: root mean square, as a share of its own."""

    operator: str
    kind: str
    relative_error: float

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, relative_error=self.relative_error)


@dataclass(frozen=True, kw_only=True)
class LayersRecord(Table):
    """The content of layers.json; see `export.checking.layers`."""

    layers: list[LayerRecord]
    compared_to: str | None = None


@dataclass(frozen=True)
class ReportDetails:
    """What lies in the run folder beside the figures; nothing where a step left none.

    Attributes:
        answers: to the test images, by the bundle's name.
        images: the file with the test images; None where they did not travel, or are not
            to be shown.
        layers: content of each quantised bundle's layers.json, by the bundle's name.
        retention: content of retention.json.
        recipe: the text of recipe.toml.
        left_out: what is not shown though it is there, and why, a line each.
    """

    answers: dict[str, Answers] = field(default_factory=dict)
    images: Path | None = None
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    retention: dict[str, Any] | None = None
    recipe: str | None = None
    left_out: list[str] = field(default_factory=list)


def details_of(run: RunFolder) -> ReportDetails:
    """Read them. What is not as the run's steps left it is left out, and said to be.

    Raises:
        CorruptFileError: when a file that a step left so cannot be understood.
    """
    facts, left_out = read_facts(run.data), list[str]()
    listed = _Listed(run, left_out)
    answers: dict[str, Answers] = {}
    layers: dict[str, dict[str, Any]] = {}
    for folder in run.bundle_folders():
        found = run.findings / folder.name
        if listed.has(found / ANSWERS):
            answers[folder.name] = read_answers(found / ANSWERS, len(facts.classes))
        if listed.has(found / LAYERS):
            what = "the errors of a bundle's layers"
            layers[folder.name] = read_table(found / LAYERS, LayersRecord, what, _AGAIN)
    return ReportDetails(
        answers=answers,
        images=_images(run, facts),
        layers=layers,
        retention=_retention(run, listed),
        recipe=run.recipe_path.read_text() if run.recipe_path.is_file() else None,
        left_out=left_out,
    )


class _Listed:
    """Tells which files are there as a step of the run left them."""

    def __init__(self, run: RunFolder, left_out: list[str]) -> None:
        self._run, self._left_out = run, left_out
        self._digests = run.recorded_files()

    def has(self, path: Path) -> bool:
        if not path.is_file():
            return False
        name = path.relative_to(self._run.path).as_posix()
        if self._digests.get(name) == sha256_of(path):
            return True
        self._left_out.append(f"{name}: not as a step of the run left it")
        return False


def _images(run: RunFolder, facts: DataFacts) -> Path | None:
    path = run.data / facts.images_for("student", TEST)
    return path if facts.has_labels and path.is_file() else None


def _retention(run: RunFolder, listed: _Listed) -> dict[str, Any] | None:
    if not listed.has(run.retention_path):
        return None
    advice = "delete it and run `compress distill` again"
    return read_table(run.retention_path, RetentionRecord, "a retention matrix", advice)

"""What the road's commands print with `--json`. No torch is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.exporting.choice import Shipping
from pipeline.gating.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What `compress run --json` prints.

    Attributes:
        run: the run folder.
        networks: "teacher", "student" and, where it was asked for, the same student trained "alone"
            on the labels: model, parameters, operations, accuracy.
        remarks: what steps decided by looking or left out, by the step's name.
        report: files that were written.
        verdict: the gate's; None where the recipe has no limits.
    """

    schema_version: int = 1
    kind: str = "run"
    run: str
    networks: dict[str, dict[str, Any]]
    remarks: dict[str, list[str]]
    report: list[str]
    verdict: Verdict | None


@dataclass(frozen=True, kw_only=True)
class TeachOutcome:
    """What `compress teach --json` prints.

    Attributes:
        run: the run folder.
        teacher: model, parameters, operations, accuracy, and what it began with.
        weights: the file of its weights, which `compress distill --teacher` takes, as it does the
            run folder.
        epochs: those of its training that were carried out; its head's own are not counted.
        best_epoch: the one with the highest accuracy on the validation images.
        remarks: what steps decided by looking or left out, by the step's name.
    """

    schema_version: int = 1
    kind: str = "teacher"
    run: str
    teacher: dict[str, Any]
    weights: str
    epochs: int
    best_epoch: int
    remarks: dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class DistillOutcome:
    """What `compress distill --json` prints.

    Attributes:
        run: the run folder.
        networks: "teacher", "student" and, where it was asked for, the same student trained "alone"
            on the labels: model, parameters, operations, accuracy.
        remarks: what steps decided by looking or left out, by the step's name.
    """

    schema_version: int = 1
    kind: str = "distillation"
    run: str
    networks: dict[str, dict[str, Any]]
    remarks: dict[str, list[str]]


@dataclass(frozen=True)
class BundleMade:
    """A bundle that was exported.

    Attributes:
        accuracy: on the test images: "top1" (0..1), "n", and on the validation images.
        parity: against the network that it was made from.
    """

    name: str
    folder: str
    model_bytes: int
    accuracy: dict[str, Any]
    parity: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExportOutcome:
    """What `compress export --json` prints.

    Attributes:
        run: the run folder.
        ships: which of the bundles, and why; None where nobody asked for a choice.
        remarks: what steps decided by looking or left out, by the step's name.
    """

    schema_version: int = 1
    kind: str = "export"
    run: str
    bundles: list[BundleMade]
    ships: Shipping | None
    remarks: dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class ReportOutcome:
    """What `compress report --json` prints.

    Attributes:
        run: the run folder; of several the first.
        runs: all of several that are shown side by side.
        remarks: what steps decided by looking or left out, by the step's name.
        written: the report's files, the page first.
    """

    schema_version: int = 1
    kind: str = "report"
    run: str
    runs: list[str] = field(default_factory=list)
    remarks: dict[str, list[str]]
    written: list[str]

"""What a finished stage leaves in its folder, and how it is found again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from foundation.files import check_sha256, read_json, sha256_of, write_json
from foundation.records import record_in
from foundation.sense import at_least, sha256
from smskd.checkpoints.files import save_model, save_tensors
from smskd.job import StageJob
from smskd.objective import spelled_out
from smskd.training.stage_files import CONTINUATION, METHOD, METRICS, RANGES, WEIGHTS

AGREEMENT = "val_agreement"
_SHOWN = ("epoch", "val_top1", AGREEMENT)
_FURTHER = ("val_macro_recall", "val_worst_recall", "val_metric", "val_metrics")
_AGAIN = "delete it to train the stage again"


@dataclass(frozen=True)
class StageResult:
    """What going on after a stage rests on, of its metrics; the rest is for people and reports.

    Attributes:
        fingerprint: of the job as it began.
        seconds: that its epochs took.
        weights_sha256: of the student that it hands on.
        ranges_sha256: of the activations' ranges, where it quantised.
        continuation_sha256: of what a next stage on the same schedule goes on from.
    """

    fingerprint: str
    seconds: float
    weights_sha256: str
    ranges_sha256: str | None = None
    continuation_sha256: str | None = None

    FURTHER_KEYS: ClassVar[bool] = True

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, seconds=self.seconds)
        yield from sha256(
            weights_sha256=self.weights_sha256,
            ranges_sha256=self.ranges_sha256,
            continuation_sha256=self.continuation_sha256,
        )


def finished_metrics(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The metrics of a finished stage, or None when that very stage is not finished.

    Raises:
        CorruptFileError: when the student is not the one that the metrics speak of, or they lack
            what they must say.
    """
    if not (folder / METRICS).exists() or not (folder / WEIGHTS).exists():
        return None
    metrics = read_json(folder / METRICS, _AGAIN)
    if not isinstance(metrics, dict) or metrics.get("fingerprint") != fingerprint:
        return None
    result = record_in(metrics, folder / METRICS, StageResult, "the metrics of a stage", _AGAIN)
    check_sha256(folder / WEIGHTS, result.weights_sha256)
    if result.ranges_sha256 is not None:
        check_sha256(folder / RANGES, result.ranges_sha256)
    if result.continuation_sha256 is not None:
        check_sha256(folder / CONTINUATION, result.continuation_sha256)
    return metrics


def write_result(
    job: StageJob,
    fingerprint: str,
    network: nn.Module,
    learned: Mapping[str, Tensor],
    history: list[dict[str, Any]],
    *,
    ranges: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the student, the methods' learnt parts if there are any, and last the metrics.

    What a next stage continues from lies there before.

    Args:
        job: what was asked.
        fingerprint: of the job as it began.
        network: what the stage hands on.
        learned: the objective's state.
        history: one record an epoch.
        ranges: of the activations, where the stage quantised.
    """
    folder = job.folder
    save_model(folder / WEIGHTS, network, **job.notes)
    if learned:
        save_tensors(folder / METHOD, learned)
    metrics = {
        "name": job.name,
        "index": job.index,
        "fingerprint": fingerprint,
        "stage": spelled_out(job.stage).as_dict(),
        "history": history,
        "last": _point(history[-1]),
        "best": _point(best_epoch(history)),
        "seconds": sum(record["seconds"] for record in history),
        "weights_sha256": sha256_of(folder / WEIGHTS),
    }
    if ranges is not None:
        save_tensors(folder / RANGES, ranges)
        metrics["ranges_sha256"] = sha256_of(folder / RANGES)
    if job.continued:
        metrics["continuation_sha256"] = sha256_of(folder / CONTINUATION)
    write_json(folder / METRICS, metrics)


def best_epoch(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The record with the highest value of the metric where there is one, of validation accuracy,
    or where no image has a label of agreement with the teacher; the earliest of equals, and else
    the last."""
    for figure in ("val_metric", "val_top1", AGREEMENT):
        validated = [record for record in history if record.get(figure) is not None]
        if validated:
            return max(validated, key=itemgetter(figure))
    return history[-1]


def _point(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in (*_SHOWN, *_FURTHER) if key in record}

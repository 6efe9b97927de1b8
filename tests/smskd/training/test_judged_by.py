"""A student that is judged by a metric beside top-1, and kept where that was best."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foundation.files import read_json
from smskd.distillation import train_alone
from smskd.engine import Engine
from smskd.evaluation import AnswerLog, evaluate, recalls_of
from smskd.stage import Stage

CPU = Engine(accelerator="cpu")


@dataclass
class Turns:
    """Gives the epochs these values, one after the other."""

    values: list[float]
    identity: str = "turns"
    asked: list[int] = field(default_factory=list)

    def __call__(self, logits: Any, labels: Any) -> dict[str, float]:
        assert logits.dtype == np.float32
        assert len(logits) == len(labels)
        self.asked.append(len(labels))
        return {"z_first": self.values[len(self.asked) - 1], "a_second": 1.0}


class Table(torch.nn.Module):
    """Answers image i with the i-th row."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.rows = torch.nn.Parameter(torch.tensor(rows))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.rows[numbers.flatten().long()]


def test_a_log_has_what_was_answered_and_recall_by_class() -> None:
    rows = [[2.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    batches = [
        (torch.tensor([[0.0], [1]]), torch.tensor([0, 1])),
        (torch.tensor([[2.0], [3]]), torch.tensor([1, 2])),
    ]
    for keeps_logits in (False, True):
        log = AnswerLog(keeps_logits=keeps_logits)
        evaluate(Table(rows), batches, log=log)
        assert log.labels.tolist() == [0, 1, 1, 2]
        assert log.answers.tolist() == [0, 1, 0, 2]
        # Recall 1, 1/2 and 1.
        assert recalls_of(log) == {"val_macro_recall": 2.5 / 3, "val_worst_recall": 0.5}
    assert log.logits.tolist() == rows


def test_images_without_a_label_are_not_taken_down() -> None:
    log = AnswerLog(keeps_logits=True)
    log.add(torch.eye(2), torch.tensor([1, -1]))
    assert (log.labels.tolist(), log.answers.tolist()) == ([1], [0])


def test_the_epoch_is_kept_that_the_metric_calls_best(plain, data, tmp_path: Path) -> None:
    metric = Turns([1.0, 5.0, 5.0, 2.0])
    stage = Stage(epochs=4, lr=0.05, keep="best")
    net = plain()
    metrics = train_alone(net, data, stage, tmp_path, validation=data, engine=CPU, metric=metric)
    assert metrics["best"]["epoch"] == 2  # the earlier of equals, whatever top-1 was
    assert metrics["best"]["val_metrics"] == {"z_first": 5.0, "a_second": 1.0}
    assert [record["val_metric"] for record in metrics["history"]] == metric.values
    assert read_json(tmp_path / "metrics.json")["best"]["val_metric"] == 5.0
    assert evaluate(net, data)["top1"] == metrics["best"]["val_top1"]


def test_only_where_it_chooses_does_another_metric_make_another_stage(
    plain, data, tmp_path: Path
) -> None:
    for keep, again in (("last", 0), ("best", 2)):
        stage = Stage(epochs=2, lr=0.05, keep=keep)
        for identity in ("one", "two"):
            metric = Turns([1.0, 2.0], identity)
            train_alone(
                plain(), data, stage, tmp_path / keep, validation=data, engine=CPU, metric=metric
            )
        assert len(metric.asked) == again

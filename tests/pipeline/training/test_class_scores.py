"""What a network is worth class by class, as it is kept and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foundation.errors import CorruptFileError
from foundation.statistics import wilson_interval
from pipeline.metrics.judging import load_metric
from pipeline.run_folder.network_scores import read_scores
from pipeline.training.class_scores import keep_scores, scores_of


def some(classes: int, n: int = 120):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, n)
    logits = random.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 1.5
    return logits, labels


def test_all_figures_of_ten_classes() -> None:
    logits, labels = some(10)
    scores = scores_of(logits, labels, load_metric("macro_f1"))
    right = logits.argmax(1) == labels
    assert scores.top1.value == right.mean()
    assert (scores.top1.low, scores.top1.high) == wilson_interval(int(right.sum()), 120)
    assert scores.k == 5
    assert scores.top_k.value > scores.top1.value
    assert scores.auroc is None
    assert scores.metric["macro_f1"].value == pytest.approx(100 * scores.macro_f1.value)
    assert sum(count for _, _, count in scores.mistakes) == (~right).sum()
    assert scores.mistakes[0][2] >= scores.mistakes[-1][2]


def test_two_classes_have_auroc_and_no_top_k() -> None:
    scores = scores_of(*some(2))
    assert (scores.k, scores.top_k) == (None, None)
    assert scores.auroc.low < scores.auroc.value < scores.auroc.high


def test_they_are_read_as_they_were_kept(tmp_path: Path) -> None:
    path = tmp_path / "scores" / "student.json"
    parts = {"test": scores_of(*some(3)), "validation": scores_of(*some(3, 30))}
    keep_scores(path, "student", ["a", "b", "c"], parts, load_metric("top5"))
    read = read_scores(path)
    assert (read.network, read.classes, read.metric) == ("student", ["a", "b", "c"], "top5")
    assert read.parts["test"].by_class == parts["test"].by_class
    keep_scores(path, "student", [], {}, None)
    assert not path.exists()


def test_a_damaged_file_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "student.json"
    path.write_text('{"kind": "class-scores"}')
    with pytest.raises(CorruptFileError, match="the scores of a network"):
        read_scores(path)

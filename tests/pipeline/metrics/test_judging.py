"""A metric of one's own: called, checked, and told how sure it is."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from foundation.errors import ModelMismatchError, UnknownNameError, UsageError
from foundation.statistics import wilson_interval
from pipeline.metrics import METRICS
from pipeline.metrics.judging import NamedMetric, load_metric

MINE = """\
def share(logits, labels, ids):
    return (logits.argmax(1) == labels).mean()

def cost(logits, labels, ids):
    wrong = logits.argmax(1) != labels
    return {"cost": -3.0 * wrong.mean(), "seen": len(ids)}

def broken(logits, labels, ids):
    table = {}
    return table["no such key"]

def leaves(logits, labels, ids):
    raise SystemExit(3)

def nothing(logits, labels, ids):
    return {}

def words(logits, labels, ids):
    return {"score": "good"}

def nan(logits, labels, ids):
    return float("nan")

def picky(logits, labels, ids):
    if len(set(labels.tolist())) < 3:
        raise ValueError("a class is missing")
    return 1.0

number = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_metric.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    import sys  # noqa: PLC0415

    sys.modules.pop("my_metric", None)


def some(n: int = 200, classes: int = 3, right: float = 0.8):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, n)
    logits = random.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += np.where(random.random(n) < right, 6, 0)
    return logits, labels


def test_a_number_is_called_like_the_function() -> None:
    logits, labels = some()
    metric = load_metric("my_metric:share")
    assert metric(logits, labels) == {"share": (logits.argmax(1) == labels).mean()}


def test_a_dict_gives_several_and_choices_go_by_the_first() -> None:
    judged = load_metric("my_metric:cost").judge(*some())
    assert list(judged.values) == ["cost", "seen"]
    assert judged.first == "cost"
    assert judged.values["seen"] == 200


def test_the_interval_is_that_of_a_share_where_it_is_one() -> None:
    logits, labels = some(400)
    score = load_metric("my_metric:share").judge(logits, labels).score("share")
    low, high = wilson_interval(int((logits.argmax(1) == labels).sum()), 400)
    assert score.low == pytest.approx(low, abs=0.015)
    assert score.high == pytest.approx(high, abs=0.015)


def test_what_is_lost_is_compared_image_by_image() -> None:
    logits, labels = some(400)
    worse = logits.copy()
    worse[:8] = np.roll(worse[:8], 1, axis=1)
    metric = load_metric("my_metric:share")
    before, after = (metric.judge(answers, labels) for answers in (logits, worse))
    assert before.is_like(after)
    drop = after.drop_from(before, "share")
    assert drop.value == pytest.approx(before.values["share"] - after.values["share"])
    assert drop.high - drop.low < before.score("share").high - before.score("share").low
    assert before.drop_from(before, "share").high == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken", r"failed on 200 images: KeyError: 'no such key' \(my_metric.py line 10\)"),
        ("leaves", r"SystemExit: 3 \(my_metric.py line 13\)"),
        ("nothing", "gave no value; return a number, or numbers by name"),
        ("words", "gave str as score; return a number"),
        ("nan", "gave nan as nan; return a finite number"),
    ],
)
def test_what_goes_wrong_is_told_in_a_line(name: str, words: str) -> None:
    with pytest.raises(ModelMismatchError, match=f"metric my_metric:{name}.*{words}") as told:
        load_metric(f"my_metric:{name}").judge(*some())
    assert "\n" not in str(told.value)


def test_a_few_drawn_sets_may_be_without_a_figure_and_many_may_not() -> None:
    metric = load_metric("my_metric:picky")
    labels = np.r_[np.zeros(50), np.ones(50), np.full(5, 2)].astype(np.int64)
    logits = np.eye(3, dtype=np.float32)[labels]
    assert 0 < metric.judge(logits, labels).drawn["picky"].count(None) < 40
    labels[101:] = 0
    with pytest.raises(ModelMismatchError, match=r"no picky for 1.. of 400 sets.*class is missing"):
        metric.judge(logits, labels)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("macro_f2", UnknownNameError, "export.metric: .*did you mean 'macro_f1'"),
        ("my_metric:sharre", ModelMismatchError, "export.metric: .*no attribute 'sharre'"),
        ("my_metrics:share", ModelMismatchError, "No module named 'my_metrics'"),
        ("my_metric:number", ModelMismatchError, "number cannot be called"),
    ],
)
def test_a_metric_that_there_is_none_of_is_told_of(name: str, error, words: str) -> None:
    with pytest.raises(error, match=words):
        load_metric(name, "export.metric")


def test_its_code_tells_it_from_what_it_was_before(here, tmp_path: Path) -> None:
    before = load_metric("my_metric:share").identity
    assert load_metric("my_metric:cost").identity != before
    (tmp_path / "my_metric.py").write_text(MINE.replace(".mean()", ".sum()"))
    assert load_metric("my_metric:share").identity != before
    assert load_metric("top5").identity == "top5"


def test_those_built_in_are_scikit_learns() -> None:
    logits, labels = some(300, classes=12, right=0.5)
    answers = logits.argmax(1)
    expected = {
        "macro_f1": sklearn_metrics.f1_score(labels, answers, average="macro"),
        "macro_recall": sklearn_metrics.balanced_accuracy_score(labels, answers),
        "macro_precision": sklearn_metrics.precision_score(labels, answers, average="macro"),
        "worst_recall": sklearn_metrics.recall_score(labels, answers, average=None).min(),
        "top5": sklearn_metrics.top_k_accuracy_score(labels, logits, k=5),
    }
    for name, share in expected.items():
        assert load_metric(name)(logits, labels)[name] == pytest.approx(100 * share)
    assert set(METRICS.names()) == {*expected, "auroc"}


def test_auroc_is_of_two_classes() -> None:
    logits, labels = some(classes=2)
    difference = logits[:, 1] - logits[:, 0]
    theirs = sklearn_metrics.roc_auc_score(labels, difference)
    assert load_metric("auroc")(logits, labels)["auroc"] == pytest.approx(100 * theirs)
    with pytest.raises(UsageError, match="there are 3; take macro_recall"):
        load_metric("auroc")(*some())
    with pytest.raises(ModelMismatchError, match="gave nan as auroc"):
        load_metric("auroc")(logits, np.zeros_like(labels))


def test_numbers_of_other_libraries_are_numbers() -> None:
    torch = pytest.importorskip("torch")
    metric = NamedMetric("mine:score", lambda logits, labels, ids: torch.tensor(0.5))
    assert metric(*some()) == {"score": 0.5}
    assert not math.isnan(metric.judge(*some()).score("score").low)


PLANT = """\
from pipeline.metrics import METRICS

@METRICS.register("escaped")
def escaped(logits, labels, ids):
    defects = labels == 1
    return {"caught": (logits.argmax(1) == 1)[defects].mean(), "n": defects.sum()}
"""
ASKED = """\
import numpy as np
from pipeline.metrics.judging import load_metric
metric = load_metric("escaped")
print(metric.identity)
print(metric(np.eye(2, dtype=np.float32)[[0, 1, 1, 0]], np.array([0, 1, 1, 1])))
"""


def test_a_metric_of_another_installed_package_is_known_by_its_code(tmp_path: Path) -> None:
    """In a process of its own, for whoever asked once knows all that there are."""
    facts = tmp_path / "plant_metrics-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: plant-metrics\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[pipeline.metrics]\nescaped = plant_metrics\n")

    def asked(code: str) -> list[str]:
        (tmp_path / "plant_metrics.py").write_text(code)
        path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", ASKED], env=environment, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return done.stdout.splitlines()

    identity, figures = asked(PLANT)
    assert identity.startswith("escaped ")
    assert figures == "{'caught': 0.6666666666666666, 'n': 3.0}"
    again, _ = asked(PLANT.replace("labels == 1", "labels > 0"))
    assert again != identity

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export.formats import FORMATS
from export.formats._graph import Graph
from export.quantization import QuantizationScheme, other_schemes
from export.searching.search import search
from export.searching.sensitivity import rank
from export.searching.trials import ModelVariant, Trial, TrialResult, paired_drop
from foundation.errors import ExportError, NoSpaceError
from foundation.metric_values import MetricValues

SCHEME = QuantizationScheme()
N = 1000


def answers(wrong: int) -> np.ndarray:
    """Of 1000 images the first `wrong` are named wrongly."""
    return np.arange(N) >= wrong


def maker(wrong: Callable[[ModelVariant], int], made: list[ModelVariant]) -> Callable[..., Trial]:
    """Makes trials of no model at all: only what they would have answered."""

    def make(candidate: ModelVariant) -> Trial:
        made.append(candidate)
        return Trial(answers(wrong(candidate)), bundle=candidate.label)

    return make


def real_maker(exported: Any, folder: Path) -> Callable[[ModelVariant], Trial]:
    """Writes ONNX and asks ONNX Runtime for the validation images' classes."""

    def make(candidate: ModelVariant) -> Trial:
        made = FORMATS.get("onnx")()
        folder.mkdir(exist_ok=True)
        arguments = (candidate.precision, folder, exported.calibration, candidate.scheme)
        file = folder / made.write(exported.file, *arguments).model_file
        return Trial(made.predict(file, exported.images).argmax(1) == exported.labels)

    return make


def ranker(exported: Any) -> Callable[[QuantizationScheme], Sequence[str]]:
    return lambda scheme: [
        cost.operator for cost in rank(exported.file, exported.calibration, scheme)
    ]


def never(scheme: QuantizationScheme) -> list[str]:
    pytest.fail("nobody should ask for a ranking")


def test_the_operators_that_do_the_harm_are_found_and_kept_and_the_rest_is_int8(
    hostile: Any, tmp_path: Path
) -> None:
    told: list[tuple[str, int]] = []
    result = search(
        real_maker(hostile, tmp_path / "bundle"),
        ranker(hostile),
        schemes=[SCHEME, *other_schemes(SCHEME, "onnx")],
        precisions=["fp16"],
        limit=1.0,
        on_trial=lambda trial, left: told.append((trial.candidate.label, left)),
    )
    whole = next(r for r in result.trials if r.candidate == ModelVariant("int8", SCHEME))
    assert whole.drop > 10
    convolutions = Graph(onnx.load(hostile.file)).main()
    assert set(result.best.candidate.scheme.excluded) == set(convolutions[:2])
    assert result.best.candidate.precision == "int8"
    assert (result.met, result.gap, result.advice) == (True, 0.0, "")
    assert result.best.drop <= 1.0
    assert told[0] == ("fp32", 11)
    assert [left for _, left in told] == list(range(11, 11 - len(told), -1))
    json.dumps(result.as_dict(), allow_nan=False)


def test_a_model_that_bears_it_is_done_after_one_int8_trial(chain: Any, tmp_path: Path) -> None:
    schemes = [SCHEME, *other_schemes(SCHEME, "onnx")]
    result = search(real_maker(chain, tmp_path / "b"), never, schemes=schemes, limit=1.0)
    assert [r.candidate.precision for r in result.trials] == ["fp32", "int8"]
    assert result.met
    assert result.best.candidate == ModelVariant("int8", SCHEME)


def test_a_limit_that_cannot_be_met_gives_the_fastest_other_the_gap_and_what_to_try() -> None:
    made: list[ModelVariant] = []
    make = maker(lambda c: {"fp32": 100, "fp16": 100, "bf16": 130, "int8": 150}[c.precision], made)
    result = search(
        make,
        lambda scheme: list("abcdef"),
        schemes=[SCHEME],
        precisions=["fp16", "bf16"],
        limit=0.5,
        calibration_images=500,
    )
    assert result.best.candidate.precision == "fp16"
    assert not result.met
    assert result.gap == pytest.approx(4.5)
    assert "misses the limit of 0.5 points by 4.50, so fp16 is the result" in result.advice
    assert 'quantize = "int8"' in result.advice
    kept = [c.scheme.excluded for c in made if c.precision == "int8"]
    assert kept == [(), ("a",), ("a", "b"), ("a", "b", "c", "d")]


@pytest.mark.parametrize(
    ("wrong", "images", "phrase"),
    [(108, 500, "1000 validation images cannot tell"), (200, 64, "64 calibration images are few")],
)
def test_the_advice_names_what_is_short(wrong: int, images: int, phrase: str) -> None:
    make = maker(lambda c: wrong if c.precision == "int8" else 100, [])
    result = search(make, lambda _: ["a"], schemes=[SCHEME], limit=0.5, calibration_images=images)
    assert result.best.candidate.precision == "fp32"
    assert phrase in result.advice
    assert "\n" not in result.advice


def test_to_train_in_int8_is_not_advised_where_it_was_done() -> None:
    make = maker(lambda c: 200 if c.precision == "int8" else 100, [])
    result = search(make, lambda _: [], schemes=[SCHEME], limit=0.5, trained_in_int8=True)
    assert "give the stage that trains in INT8 more epochs" in result.advice


def test_a_ranking_that_fails_ends_the_search_with_a_note_and_what_was_found_stands() -> None:
    def fails(scheme: QuantizationScheme) -> list[str]:
        raise KeyError("a profiler's own words")

    make = maker(lambda c: 200 if c.precision == "int8" else 100, [])
    result = search(make, fails, schemes=[SCHEME], limit=0.5)
    assert [one.candidate.precision for one in result.trials] == ["fp32", "int8"]
    (note,) = result.as_dict()["notes"]
    assert note.startswith("the operators could not be ranked (KeyError")
    assert "a profiler's own words" in note


def test_a_full_disk_while_ranking_is_told_as_such() -> None:
    def fails(scheme: QuantizationScheme) -> list[str]:
        raise NoSpaceError("the disk is full")

    make = maker(lambda c: 200 if c.precision == "int8" else 100, [])
    with pytest.raises(NoSpaceError):
        search(make, fails, schemes=[SCHEME], limit=0.5)


@pytest.mark.parametrize("harmful", [1, 2, 3, 5, 7, 11])
def test_as_few_operators_are_kept_as_the_limit_allows(harmful: int) -> None:
    made: list[ModelVariant] = []
    names = [f"op{i}" for i in range(30)]
    bad = set(names[:harmful])

    def wrong(candidate: ModelVariant) -> int:
        left = bad - set(candidate.scheme.excluded)
        return 100 + (30 * len(left) if candidate.precision == "int8" else 0)

    result = search(maker(wrong, made), lambda _: names, schemes=[SCHEME], limit=1.0)
    assert set(result.best.candidate.scheme.excluded) == bad
    assert len(made) <= 12
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("most", [1, 2, 4])
def test_no_more_trials_are_made_than_allowed(most: int) -> None:
    made: list[ModelVariant] = []
    make = maker(lambda c: 500 if c.precision == "int8" else 100, made)
    ranking = [f"op{i}" for i in range(30)]
    result = search(
        make, lambda _: ranking, schemes=[SCHEME], precisions=["fp16"], limit=1, max_trials=most
    )
    assert len(made) == len(result.trials) == most
    assert made[0].precision == "fp32"
    assert result.best.candidate.precision == ("fp32" if most == 1 else "fp16")


def test_finished_trials_are_not_made_again(tmp_path: Path) -> None:
    def run(context: str, made: list[ModelVariant], limit: float = 1.0) -> list[TrialResult]:
        make = maker(lambda c: 150 if c.precision == "int8" else 100, made)
        return search(
            make,
            lambda _: list("abc"),
            schemes=[SCHEME],
            limit=limit,
            folder=tmp_path,
            context=context,
        ).trials

    made: list[ModelVariant] = []
    first = run("weights A", made)
    again: list[ModelVariant] = []
    second = run("weights A", again, limit=6.0)
    assert again == []
    assert all(trial.resumed for trial in second)
    for before, after in zip(first, second, strict=False):
        assert before.trial and after.trial
        np.testing.assert_array_equal(before.trial.correct, after.trial.correct)
        assert (before.drop, before.trial.bundle) == (after.drop, after.trial.bundle)
    run("weights B", other := [])
    assert len(other) == len(made)

    victim = sorted(tmp_path.iterdir())[0]
    victim.write_text(victim.read_text()[:40])
    run("weights A", partly := [])
    assert len(partly) <= 1


def test_a_killed_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    made: list[ModelVariant] = []
    working = maker(lambda c: 150 if c.precision == "int8" else 100, made)

    def killed(candidate: ModelVariant) -> Trial:
        if len(made) == 2:
            raise KeyboardInterrupt
        return working(candidate)

    arguments: dict[str, Any] = {"schemes": [SCHEME], "limit": 1, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        search(killed, lambda _: list("abc"), **arguments)
    search(working, lambda _: list("abc"), **arguments)
    assert len(set(made)) == len(made) > 2


def test_a_candidate_that_cannot_be_made_is_recorded_and_the_search_goes_on() -> None:
    def make(candidate: ModelVariant) -> Trial:
        if candidate.precision == "int8" and not candidate.scheme.excluded:
            raise ExportError("int8 names the original's class for 10% of 20 probe images")
        return Trial(answers(100))

    result = search(make, lambda _: list("abc"), schemes=[SCHEME], limit=1.0)
    assert result.best.candidate.scheme.excluded == ("a",)
    assert result.trials[1].error.startswith("int8 names")
    json.dumps(result.as_dict(), allow_nan=False)


def test_without_any_int8_model_the_reason_is_told() -> None:
    def make(candidate: ModelVariant) -> Trial:
        if candidate.precision == "int8":
            raise ExportError("NNCF found nothing to quantise")
        return Trial(answers(100))

    result = search(make, lambda _: list("abc"), schemes=[SCHEME], limit=1.0)
    assert result.gap is None
    assert "NNCF found nothing to quantise" in result.advice
    assert result.best.candidate.precision == "fp32"


def test_an_int8_that_is_slower_is_not_chosen() -> None:
    times = {"fp32": 9.0, "fp16": 5.0, "int8": 7.0}

    def make(candidate: ModelVariant) -> Trial:
        return Trial(answers(100), milliseconds=times[candidate.precision])

    result = search(make, never, schemes=[SCHEME], precisions=["fp16"], limit=1.0)
    assert result.best.candidate.precision == "fp16"
    assert result.met
    assert "no faster here" in result.advice


def test_fp32_that_cannot_be_made_is_an_error() -> None:
    def make(candidate: ModelVariant) -> Trial:
        raise ExportError("no")

    with pytest.raises(ExportError, match="FP32 itself cannot be made: no"):
        search(make, never, schemes=[SCHEME], limit=1.0)


@pytest.mark.parametrize("wrong", [{"limit": -0.1}, {"limit": float("nan")}, {"max_trials": 0}])
def test_impossible_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="limit must be at least 0"):
        search(maker(lambda c: 0, []), never, **({"schemes": [], "limit": 1.0} | wrong))


def test_the_paired_drop_is_the_one_worked_out_by_hand() -> None:
    before, after = np.ones(100, bool), np.ones(100, bool)
    before[:2] = False  # two are won
    after[2:8] = False  # six are lost
    drop, low, high = paired_drop(before, after)
    assert drop == pytest.approx(4.0)
    # Bonett and Price: (7 - 3) / 102, give or take 1.96 sqrt((10/102 - (4/102)^2) / 102)
    assert (low, high) == pytest.approx((-2.109, 9.952), abs=2e-3)
    assert paired_drop(before, before)[0] == 0.0
    assert paired_drop(before, before)[1] < 0 < paired_drop(before, before)[2]


def test_the_interval_of_a_pair_is_narrower_than_that_of_two_samples() -> None:
    _, low, high = paired_drop(answers(300), answers(310))
    alone = 2 * 196 * np.sqrt(2 * 0.3 * 0.7 / N)
    assert high - low < 0.5 * alone


def test_other_images_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same images"):
        paired_drop(answers(1), answers(1)[:10])


def test_a_trial_that_loses_more_than_is_tolerated_has_failed() -> None:
    made: list[ModelVariant] = []
    wrong = maker(lambda candidate: 0 if candidate.precision == "fp32" else 300, made)
    result = search(wrong, never, schemes=[SCHEME], limit=40.0, max_trials=2, tolerated_drop=5.0)
    (int8,) = [one for one in result.trials if one.candidate.precision == "int8"]
    assert int8.trial is None
    assert int8.error.startswith("30.00 points lost")
    assert result.best.candidate.precision == "fp32"
    assert search(wrong, never, schemes=[SCHEME], limit=40.0).best.candidate.precision == "int8"


def test_with_a_metric_the_drop_is_what_the_metric_lost() -> None:
    """INT8 loses 10 of 1000 images, a point of top-1; of the metric it loses 0.25."""

    def values(value: float) -> MetricValues:
        drawn = [value + 0.001 * place for place in range(-10, 11)]
        return MetricValues("mine:score", "mine", N, "a" * 64, {"score": value}, {"score": drawn})

    def make(candidate: ModelVariant) -> Trial:
        is_int8 = candidate.precision == "int8"
        metric = values(0.75 if is_int8 else 1.0)
        return Trial(answers(10 if is_int8 else 0), bundle=candidate.label, metric=metric)

    result = search(
        make, never, schemes=[SCHEME], limit=0.3, precisions=[], max_trials=2, tolerated_drop=5.0
    )
    int8 = result.trials[1]
    assert (int8.drop, int8.low, int8.high) == pytest.approx((0.25, 0.25, 0.25))
    assert int8.meets(0.3)
    assert not int8.meets(0.2)

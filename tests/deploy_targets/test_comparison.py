"""A comparison as a file, and the verdict from its rounds."""

import json
from dataclasses import replace

import pytest

from deploy_targets.comparison import Candidate, Comparison, read_comparison, write_comparison
from deploy_targets.device import facts
from deploy_targets.device.messages import (
    ExecutedPrecision,
    Latency,
    Parity,
    Percentile,
    RuntimeUsed,
)
from deploy_targets.measurement import BundleMeasured, HostMeasured
from deploy_targets.measuring.compare import ratio_to_baseline
from foundation.errors import CorruptFileError, MissingFileError

ROUNDS = [1.0, 1.2, 1.1, 0.9, 1.3, 1.05, 0.95, 1.15]


def candidate(name, factor, ratio):
    return Candidate(
        bundle=BundleMeasured(name, "student", "local", "onnx", "fp32", 1234, "ab" * 32),
        runtime=RuntimeUsed("onnxruntime", "1.0", 1, "f32", ExecutedPrecision("f32", {"f32": 2})),
        latency_ms=Latency({"p50": Percentile(1.0, 0.9, 1.2)}, 1.5, 0.5, 4.0, 50, 20),
        round_ms=[factor * ms for ms in ROUNDS],
        parity=Parity(0.001, 0.0001, 1.0, 8),
        against_baseline=ratio,
    )


COMPARISON = Comparison(
    host=HostMeasured("local", facts.collect()),
    rounds=len(ROUNDS),
    fresh=True,
    candidates=[
        candidate("one", 1, None),
        candidate("other", 0.5, ratio_to_baseline([0.5 * ms for ms in ROUNDS], ROUNDS)),
    ],
    seconds=3.5,
    started_at="2025-01-01T00:00:00+00:00",
)


@pytest.fixture
def file(tmp_path):
    write_comparison(tmp_path / "c.json", COMPARISON)
    return tmp_path / "c.json"


def test_a_comparison_reads_back_equal(file):
    assert read_comparison(file) == COMPARISON
    assert read_comparison(file).baseline.bundle.name == "one"


def test_the_file_has_the_keys_of_schema_2(file):
    raw = json.loads(file.read_text())
    assert list(raw) == [
        "schema_version", "kind", "host", "rounds", "fresh", "candidates", "seconds", "started_at",
    ]  # fmt: skip
    assert (raw["schema_version"], raw["kind"]) == (2, "comparison")
    assert raw["candidates"][0]["against_baseline"] is None
    assert set(raw["candidates"][1]["against_baseline"]) == {
        "estimate", "low", "high", "confidence", "verdict",
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.pop("candidates"),
        lambda raw: raw.update(extra=1),
        lambda raw: raw.update(schema_version=1),
        lambda raw: raw.update(kind="measurement"),
        lambda raw: raw["candidates"][1]["against_baseline"].update(low="small"),
        lambda raw: raw["candidates"][1]["against_baseline"].update(verdict="quick"),
        lambda raw: raw["candidates"][1]["round_percentiles_ms"].update(p90=1.0),
        lambda raw: raw["candidates"][0].update(round_ms=[None]),
    ],
)
def test_anything_else_than_a_comparison_is_corrupt(file, change):
    raw = json.loads(file.read_text())
    change(raw)
    file.write_text(json.dumps(raw))
    with pytest.raises(CorruptFileError, match=r"c\.json: not a comparison"):
        read_comparison(file)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(MissingFileError):
        read_comparison(tmp_path / "none.json")


def test_the_ratio_is_taken_round_by_round_so_that_what_both_share_cancels():
    # Rounds differ by 40 %, the bundles by 2 % in each of them.
    ratio = ratio_to_baseline([1.02 * ms for ms in ROUNDS], ROUNDS)
    assert ratio.estimate == pytest.approx(1.02)
    assert ratio.low == pytest.approx(1.02)
    assert ratio.verdict == "slower"


@pytest.mark.parametrize(
    ("factors", "verdict"),
    [
        ([0.9, 0.8, 0.85, 0.95, 0.9, 0.8, 0.9, 0.7], "faster"),
        ([1.1, 1.2, 1.3, 1.05, 1.1, 1.2, 1.01, 1.4], "slower"),
        ([1.1, 0.9, 1.3, 0.8, 1.1, 0.95, 1.01, 0.97], "no difference"),
    ],
)
def test_the_verdict_is_what_the_whole_interval_says(factors, verdict):
    ratio = ratio_to_baseline([f * ms for f, ms in zip(factors, ROUNDS, strict=True)], ROUNDS)
    assert ratio.verdict == verdict
    assert ratio.low <= ratio.estimate <= ratio.high
    assert ratio.confidence == 0.95


def test_a_bundle_is_found_by_its_manifest_and_against_itself_it_is_the_last():
    twin = replace(COMPARISON.candidates[1].bundle, name="one")
    both = replace(COMPARISON, candidates=[COMPARISON.baseline, candidate("one", 1, None)])
    assert both.of(twin.manifest_sha256) is both.candidates[1]
    assert COMPARISON.of("cd" * 32) is None


def test_a_candidate_gives_the_rounds_of_the_percentiles_that_it_has():
    one = replace(COMPARISON.baseline, round_percentiles_ms={"p90": [2.0] * 8})
    assert one.rounds_of("p50") == ROUNDS
    assert one.rounds_of("p90") == [2.0] * 8
    assert one.rounds_of("p99") is None


def test_more_confidence_is_a_wider_ratio():
    noisy = [
        f * ms for f, ms in zip([1.1, 0.9, 1.3, 0.8, 1.1, 0.95, 1.01, 0.97], ROUNDS, strict=True)
    ]
    usual, sure = ratio_to_baseline(noisy, ROUNDS), ratio_to_baseline(noisy, ROUNDS, 0.98)
    assert sure.low < usual.low < usual.high < sure.high
    assert sure.confidence == 0.98


def test_rounds_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="zip"):
        ratio_to_baseline(ROUNDS, ROUNDS[1:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw.update(rounds=0), "rounds must be at least 1"),
        (lambda raw: raw.update(rounds=9), "has 8 rounds of 9"),
        (lambda raw: raw["candidates"].pop(), "candidates must be at least 2"),
        (lambda raw: raw["candidates"].reverse(), "the first, and no other, is the baseline"),
        (lambda raw: raw["candidates"][1]["round_ms"].__setitem__(0, -1.0), "must be above 0"),
        (lambda raw: raw["candidates"][1]["against_baseline"].update(low=0.9), "must not lie"),
        (
            lambda raw: raw["candidates"][1]["against_baseline"].update(verdict="slower"),
            "verdict is 'slower'",
        ),
        (
            lambda raw: raw["candidates"][0].update(round_percentiles_ms={"p90": [1.0]}),
            "p90 has 1 rounds, and round_ms 8",
        ),
    ],
)
def test_values_that_cannot_be_are_corrupt_and_told(file, change, words):
    raw = json.loads(file.read_text())
    change(raw)
    file.write_text(json.dumps(raw))
    with pytest.raises(CorruptFileError, match=words):
        read_comparison(file)

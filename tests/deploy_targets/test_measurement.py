"""A measurement as a file: whole, strict, and refused when it is anything else."""

import json
from dataclasses import replace

import pytest
from sample_measurement import MEASUREMENT

from deploy_targets.measurement import (
    read_measurement,
    samples_ms,
    write_measurement,
)
from foundation.errors import CorruptFileError, MissingFileError


@pytest.fixture
def file(tmp_path):
    write_measurement(tmp_path / "m.json", MEASUREMENT)
    return tmp_path / "m.json"


def edit(file, change):
    raw = json.loads(file.read_text())
    change(raw)
    file.write_text(json.dumps(raw))


def test_a_measurement_reads_back_equal(file):
    assert read_measurement(file) == MEASUREMENT


def test_the_file_has_the_keys_of_schema_2(file):
    raw = json.loads(file.read_text())
    assert list(raw) == [
        "schema_version", "kind", "bundle", "host", "runtime", "scenario", "latency_ms",
        "throughput", "memory_mb", "startup_ms", "energy", "accuracy", "parity", "conditions",
        "validity", "agreement", "launches", "seconds", "started_at", "starts", "samples_us",
    ]  # fmt: skip
    assert (raw["schema_version"], raw["kind"]) == (2, "measurement")
    assert set(raw["startup_ms"]) == {"import", "load", "first_inference"}
    assert raw["runtime"]["executed_precision"] == {"summary": "f32", "operators": {"f32": 2}}
    assert raw["latency_ms"]["percentiles"] == {"p50": {"value": 1.0, "low": 0.9, "high": 1.2}}


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(MissingFileError):
        read_measurement(tmp_path / "none.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.pop("parity"),
        lambda raw: raw.update(extra=1),
        lambda raw: raw.update(schema_version=1),
        lambda raw: raw.update(kind="estimate"),
        lambda raw: raw["latency_ms"]["percentiles"].update(p50="fast"),
        lambda raw: raw["latency_ms"].update(mean=float("nan")),
        lambda raw: raw["runtime"].pop("executed_precision"),
    ],
)
def test_anything_else_than_a_measurement_is_corrupt(file, change):
    edit(file, change)
    with pytest.raises(CorruptFileError, match=r"m\.json"):
        read_measurement(file)


def p50(**bounds):
    return lambda raw: raw["latency_ms"]["percentiles"]["p50"].update(bounds)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (p50(value=50.0, low=1.0, high=2.0), "value .50. must not lie above high .2."),
        (p50(low=2.0, high=1.0), "low .2. must not lie above value"),
        (p50(value=-1.0, low=-2.0, high=-1.0), "low must be at least 0"),
        (p50(low=0.1), "min .0.5. must not lie above p50.low"),
        (lambda raw: raw["latency_ms"].update(n=0), "n must be at least 2"),
        (lambda raw: raw["latency_ms"].update(n=10), "a p50 of 10 queries, but it needs 11"),
        (lambda raw: raw["latency_ms"].update(n=10**30), "more than 64 bits"),
        (lambda raw: raw["latency_ms"].update(mean=9.0), "mean .9. must not lie above max"),
        (
            lambda raw: raw["latency_ms"]["percentiles"].update(
                p90={"value": 0.8, "low": 0.8, "high": 2.0}
            ),
            "p50 .1. must not lie above p90",
        ),
        (
            lambda raw: raw["latency_ms"]["percentiles"].update(
                {"p99.99999999": {"value": 2.0, "low": 2.0, "high": 2.0}}
            ),
            "percentiles must have names such as p99.9",
        ),
        (lambda raw: raw["throughput"].update(low=0.0), "low must be above 0"),
        (lambda raw: raw["memory_mb"].update(peak=-1.0), "peak must be above 0"),
        (lambda raw: raw["memory_mb"].update(peak=10.0), "steady .90. must not lie above peak"),
        (lambda raw: raw["startup_ms"].update(load=-1.0), "load must be at least 0"),
        (lambda raw: raw["bundle"].update(model_bytes=-5), "model_bytes must be above 0"),
        (lambda raw: raw["bundle"].update(manifest_sha256="ab"), "must be a SHA-256"),
        (lambda raw: raw["bundle"].update(name="\x1b[31mred"), "name must be a plain name"),
        (lambda raw: raw["parity"].update(n=0), "n must be at least 1"),
        (lambda raw: raw["parity"].update(top1_agreement=1.5), "from 0 to 1"),
        (lambda raw: raw["validity"].update(reasons=["busy"]), "valid, with 1 reasons"),
        (lambda raw: raw["validity"].update(verdict="fine"), "verdict must be one of valid"),
        (lambda raw: raw["scenario"].update(name="quiet"), "name must be one of single-stream"),
        (lambda raw: raw.update(seconds=-82784.0), "seconds must be at least 0"),
        (lambda raw: raw.update(launches=0), "launches must be at least 1"),
        (lambda raw: raw.update(energy={"joules_per_image": -1, "source": "RAPL"}), "above 0"),
        (
            lambda raw: raw.update(accuracy={"top1": 0.5, "n": 0, "low": 0.4, "high": 0.6}),
            "n must be at least 1",
        ),
        (
            lambda raw: raw.update(accuracy={"top1": 0.5, "n": 9, "low": 0.6, "high": 0.7}),
            "low .0.6. must not lie above top1",
        ),
        (
            lambda raw: raw.update(
                accuracy={"top1": 0.5, "n": 2, "low": 0.1, "high": 0.9, "right": "c0"}
            ),
            "right has 2 of 2 images",
        ),
        (
            lambda raw: raw.update(
                accuracy={"top1": 0.5, "n": 2, "low": 0.1, "high": 0.9, "right": "81"}
            ),
            "right must be the bits of 2 images",
        ),
    ],
)
def test_values_that_cannot_be_are_corrupt_and_told(file, change, words):
    edit(file, change)
    with pytest.raises(CorruptFileError, match=words):
        read_measurement(file)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"kind": "measurement"'])
def test_a_torn_file_is_corrupt(file, text):
    file.write_text(text)
    with pytest.raises(CorruptFileError, match=r"m\.json"):
        read_measurement(file)


def test_what_is_not_a_number_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_measurement(tmp_path / "m.json", replace(MEASUREMENT, seconds=float("nan")))
    assert not (tmp_path / "m.json").exists()


def test_single_queries_come_back_in_milliseconds_part_by_part(tmp_path) -> None:
    latency = replace(MEASUREMENT.latency_ms, n=3, percentiles={})
    kept = replace(MEASUREMENT, latency_ms=latency, samples_us=["500.125 1500", "4000.0"])
    write_measurement(tmp_path / "m.json", kept)
    assert samples_ms(read_measurement(tmp_path / "m.json")) == [[0.500125, 1.5], [4.0]]
    assert samples_ms(MEASUREMENT) == []


@pytest.mark.parametrize(
    ("samples", "words"),
    [(["1.0 2.0"], "of 50"), (["1.0 x"], "microseconds"), (["-1.0"], "micro"), (["nan"], "micro")],
)
def test_single_queries_that_cannot_be_are_refused(file, samples, words) -> None:
    edit(file, lambda raw: raw.update(samples_us=samples))
    with pytest.raises(CorruptFileError, match=words):
        read_measurement(file)

"""bench --per-layer and --sustain: from a user's graph to tables, JSON, a report and a verdict."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from any_graphs import two_inputs
from made_once import made_once

from deploy_targets.sustained import read_sustained

QUICK = ("--queries", "20", "--min-seconds", "0", "--max-seconds", "0.5", "--threads", "1")
NAME = "local-onnx-fp32"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, forked) -> Path:
    """A folder with a run, in which a graph was exported and looked into; each worker's own."""

    def make(folder: Path) -> None:
        two_inputs(folder / "two.onnx")
        draw = np.random.default_rng(0)
        tokens = draw.integers(0, 20, (30, 5))
        np.savez(folder / "samples.npz", image=draw.random((30, 3, 8, 8)), tokens=tokens)
        said = forked(
            "export", "two.onnx", "--data", "arrays:samples.npz", "--input-shape",
            "image=1,3,8,8", "--format", "onnx", "--precision", "fp32", "--run", "run", cwd=folder,
        )  # fmt: skip
        assert said.code == 0, said.err
        asked = ("--per-layer", "--sustain", "2s", "--json")
        said = forked("bench", "run", *QUICK, *asked, cwd=folder)
        assert said.code == 0, said.err
        (folder / "printed.json").write_text(json.dumps(said.json()))

    made = made_once(tmp_path_factory, "looked-into", make)
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("looked") / "place"))


def test_both_are_printed_and_kept_beside_the_measurement(place: Path) -> None:
    printed = json.loads((place / "printed.json").read_text())
    (profile,), (sustained,) = printed["operators"], printed["sustained"]
    kept = json.loads((place / f"run/bench/operators/{NAME}@local.json").read_text())
    assert kept == profile
    profiled = profile["profiled"]
    total = sum(operator["ms"] for operator in profiled["operators"])
    assert 0 < total <= profiled["whole_ms"] * 1.05
    assert "Conv" in {operator["kind"] for operator in profiled["operators"]}
    kept = json.loads((place / f"run/bench/sustained/{NAME}@local.json").read_text())
    assert kept == sustained
    assert sustained["asked_s"] == 2.0 and sustained["stopped"] is None
    assert sustained["stretches"]


def test_what_was_looked_into_is_found_done_and_shown(place: Path, forked) -> None:
    before = {p: p.stat().st_mtime_ns for p in (place / "run/bench").rglob("*.json")}
    said = forked("bench", "run", *QUICK, "--per-layer", "--sustain", "2s", cwd=place)
    assert said.code == 0, said.err
    assert {p: p.stat().st_mtime_ns for p in before} == before
    words = " ".join(said.out.split())
    for part in ("not in an operator", "the whole, profiled", "By kind", "times as long"):
        assert part in words
    assert f"{NAME}: undecided after" in words


def test_the_report_shows_them(place: Path, forked) -> None:
    said = forked("report", "run", cwd=place)
    assert said.code == 0, said.err
    page = (place / "run/report.html").read_text()
    assert 'id="operators"' in page and 'id="plot-operators-1"' in page
    assert 'id="sustained"' in page and 'id="plot-sustained-1"' in page


@pytest.mark.parametrize("source", [["run"], ["printed.json"]])
def test_the_gate_asks_for_what_is_left(place: Path, forked, source: list[str]) -> None:
    (place / "budget.toml").write_text("[limits]\nsustained_latency_p95_ms = { max = 1e6 }\n")
    said = forked("gate", *source, "--budget", "budget.toml", "--json", cwd=place)
    (check,) = [
        check for check in said.json()["checks"] if check["metric"] == "sustained_latency_p95_ms"
    ]
    # Where others are at work, the series is suspect; either way it was found.
    assert check["verdict"] in {"pass", "inconclusive"}, check
    assert (said.code == 0) == (check["verdict"] == "pass")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sustain", "soon"], "must be a span of time such as 90s"),
        (["--sustain", "1s"], "must be from 2s to 168h"),
        (["--sustain", "2s", "--host", "local", "--host", "ssh://a@b"], "look at one host"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(place: Path, forked, arguments, words) -> None:
    said = forked("bench", "run", *QUICK, *arguments, cwd=place)
    assert said.code not in (0, 1)
    assert words in " ".join(said.err.split())
    assert "Traceback" not in said.err


def test_what_was_measured_before_an_interruption_is_kept(place: Path) -> None:
    log = place / "a.log"
    command = [sys.executable, "-m", "pipeline", "-vv", "--log-file", str(log), "bench", "run"]
    with subprocess.Popen(
        [*command, *QUICK, "--sustain", "300s"],
        cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    ) as process:  # fmt: skip
        until = time.monotonic() + 240
        while not (log.is_file() and "at work for" in log.read_text()):
            assert process.poll() is None and time.monotonic() < until, process.communicate()
            time.sleep(0.05)
        # As a terminal does it: to the whole group, the process at work too.
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    words = " ".join(out.split())
    assert "it was at work for" in words and "of the 5 minutes" in words
    sustained = read_sustained(place / f"run/bench/sustained/{NAME}@local.json")
    assert sustained.stopped == "it was interrupted"
    assert sustained.asked_s == 300 and 0 < sustained.lasted_s < 60

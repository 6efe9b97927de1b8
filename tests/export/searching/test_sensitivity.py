from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from export.formats import FORMATS
from export.formats._graph import Graph
from export.quantization import QuantizationScheme
from export.searching.sensitivity import OperatorTime, _scores, operator_times, rank

SCHEME = QuantizationScheme()


def test_the_operators_around_the_hostile_channel_come_first(hostile: Any, chain: Any) -> None:
    convolutions = Graph(onnx.load(hostile.file)).main()
    told: list[tuple[int, int]] = []
    costs = rank(
        hostile.file, hostile.calibration, SCHEME, on_operator=lambda *done: told.append(done)
    )
    assert {cost.operator for cost in costs[:2]} == set(convolutions[:2])
    assert costs[1].signal_to_noise_db < 10 < costs[2].signal_to_noise_db
    assert [cost.score for cost in costs] == sorted((c.score for c in costs), reverse=True)
    assert told[-1] == (len(told), len(told))
    assert set(convolutions) <= {cost.operator for cost in costs}

    sound = rank(chain.file, chain.calibration, SCHEME)
    assert min(cost.signal_to_noise_db for cost in sound) > 20


def test_of_equal_errors_the_one_that_gains_the_least_time_stays_first(chain: Any) -> None:
    decibels = {"slow": 30.0, "fast": 30.0, "untimed": 30.0, "harmless": 60.0}
    times = {"slow": OperatorTime(9.0, 1.0), "fast": OperatorTime(2.0, 3.0)}
    scores = _scores(decibels, times)
    assert scores["fast"] == scores["untimed"] > scores["slow"] > scores["harmless"]

    name = Graph(onnx.load(chain.file)).main()[0]
    given = {name: OperatorTime(2.0, 0.5)}
    costs = {c.operator: c for c in rank(chain.file, chain.calibration, SCHEME, given)}
    assert costs[name].time == given[name]
    assert costs[name].as_dict()["time"] == {"fp32_ms": 2.0, "int8_ms": 0.5}
    assert given[name].gain_ms == 1.5
    assert {c.time for c in costs.values()} == {given[name], None}


def test_excluded_operators_are_not_ranked(chain: Any) -> None:
    name = Graph(onnx.load(chain.file)).main()[0]
    costs = rank(chain.file, chain.calibration, QuantizationScheme(excluded=(name,)))
    assert costs
    assert name not in {cost.operator for cost in costs}


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_every_convolution_and_product_has_a_time_in_both_precisions(
    name: str, chain: Any, tmp_path: Path
) -> None:
    files = []
    for precision in ("fp32", "int8"):
        (folder := tmp_path / precision).mkdir()
        made = FORMATS.get(name)()
        facts = made.write(chain.file, precision, folder, chain.calibration, SCHEME)
        files.append(folder / facts.model_file)
    times = operator_times(chain.file, *files, name, chain.images[:1], runs=10)
    assert list(times) == Graph(onnx.load(chain.file)).main()
    assert all(time.fp32_ms >= 0 and time.int8_ms >= 0 for time in times.values())
    assert sum(time.fp32_ms for time in times.values()) > 0

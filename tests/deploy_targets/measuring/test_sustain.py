"""A bundle kept at work: on a simulated machine whose clock falls, and on this one."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy_targets.device.conditions import Watch
from deploy_targets.device.facts import collect
from deploy_targets.device.messages import DURING, Conditions, Message, Timed
from deploy_targets.device.stretches import Stretch, ends_of, opening_of, stretches
from deploy_targets.hosts import HOSTS
from deploy_targets.intervals import CONFIDENCE, neighbours_correlation, rank_sum_interval
from deploy_targets.measuring.holding import holding_of
from deploy_targets.measuring.sustain import SustainOptions, sustain
from deploy_targets.sustained import last_p95s, read_sustained, write_sustained
from foundation.bundle import open_any_bundle
from foundation.errors import HostError
from foundation.records import as_dict

SPAN_S = 120.0
FULL_MHZ, FALLEN_MHZ = 1800.0, 1200.0
Speed = Callable[[float], float]


class Board:
    """A simulated board: its clock, temperature and latency follow from how long it was at work.

    What it tells of itself lies in files as Linux has them, which `Watch` reads.

    Args:
        root: of its file system.
        speed: share of the full speed that is left after so many seconds.
        latency_ms: at full speed.
        noise: of a latency, as a share (standard deviation).
    """

    def __init__(self, root: Path, speed: Speed, latency_ms: float = 6.0, noise: float = 0.02):
        self.root, self._speed, self._latency_ms, self._noise = root, speed, latency_ms, noise
        self.now, self._rng = 0.0, random.Random(0)
        self._tell()
        self.watch = Watch(root=root)

    def clock(self) -> float:
        return self.now

    def part(self, queries: int, seconds: float) -> Timed:
        begun, samples = self.now, list[int]()
        while len(samples) < queries:
            left = self._speed(self.now)
            ms = self._latency_ms / left * math.exp(self._rng.gauss(0, self._noise))
            samples.append(round(ms * 1e6))
            self.now += ms / 1e3
            if self.now - begun >= seconds:
                break
        self._tell()
        return Timed(samples, sum(samples))

    def look(self) -> Conditions:
        return self.watch.now(DURING)

    def _tell(self) -> None:
        left = self._speed(self.now)
        khz, millidegrees = 1000 * FULL_MHZ * left, 50_000 + 100_000 * (1 - left)
        _write(self.root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", khz)
        zone = self.root / "sys/class/thermal/thermal_zone0"
        _write(zone / "temp", millidegrees)
        _write(zone / "trip_point_0_temp", 80_000)
        (zone / "trip_point_0_type").write_text("passive\n")


def _write(path: Path, value: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value:.0f}\n")


def falls_after(seconds: float) -> Speed:
    return lambda at: 1.0 if at < seconds else FALLEN_MHZ / FULL_MHZ


def series_on(board: Board, seconds: float) -> list[Stretch]:
    return list(stretches(board, board.look, ends_of(seconds), board.clock))


@pytest.fixture(scope="module")
def falling(tmp_path_factory: pytest.TempPathFactory) -> list[Stretch]:
    board = Board(tmp_path_factory.mktemp("board"), falls_after(40))
    return series_on(board, SPAN_S)


def test_a_machine_whose_clock_falls_settles_at_what_is_left(falling) -> None:
    holding = holding_of(falling, opening_of(SPAN_S))
    assert holding.verdict == "settles"
    assert holding.speed.low <= FALLEN_MHZ / FULL_MHZ <= holding.speed.high
    assert holding.speed.high - holding.speed.low < 0.03
    assert holding.settled_after_s == pytest.approx(40, abs=6)
    assert (holding.opening_mhz, holding.last_mhz) == (FULL_MHZ, FALLEN_MHZ)
    assert holding.hottest_c == pytest.approx(83.333)
    assert holding.throttled_s == pytest.approx(SPAN_S - 40, abs=4)


def test_stretches_are_of_the_whole_time_and_short_at_first(falling) -> None:
    ends = ends_of(SPAN_S)
    assert ends[:20] == [0.5 * i for i in range(1, 21)]
    assert ends[-1] == SPAN_S
    assert len(falling) == 75
    assert all(longer.seconds == pytest.approx(2, abs=0.1) for longer in falling[20:])
    assert falling[0].p95_ms is None and len(falling[0].samples_ms) == falling[0].n
    assert falling[-1].p95_ms is not None and falling[-1].samples_us == ""


@pytest.mark.parametrize("seconds", [2, 5, 90, 3600, 86_400, 604_800])
def test_any_span_has_stretches_that_fit_it(seconds: float) -> None:
    ends = ends_of(seconds)
    lengths = [end - before for before, end in zip([0.0, *ends], ends, strict=False)]
    assert ends[-1] == pytest.approx(seconds)
    assert min(lengths) > 0.4
    assert len(ends) <= 20 + 241
    assert max(lengths) <= max(60.5, seconds / 200)


def test_a_machine_that_keeps_its_clock_holds_its_speed(tmp_path: Path) -> None:
    board = Board(tmp_path, lambda _: 1.0)
    holding = holding_of(series_on(board, 40.0), opening_of(40.0))
    assert holding.verdict == "holds", holding
    assert holding.speed.low < 1 < holding.speed.high
    assert holding.throttled_s == 0


def test_a_machine_that_slows_down_to_the_end_has_settled_nowhere(tmp_path: Path) -> None:
    board = Board(tmp_path, lambda at: 1 - 0.4 * at / 40)
    holding = holding_of(series_on(board, 40.0), opening_of(40.0))
    assert holding.verdict == "falls"
    assert "still gets slower" in holding.reason
    assert holding.settled_after_s is None


def test_of_few_seconds_nothing_is_claimed(tmp_path: Path) -> None:
    board = Board(tmp_path, falls_after(1.0))
    holding = holding_of(series_on(board, 4.0), opening_of(4.0))
    assert (holding.verdict, holding.speed) == ("undecided", None)
    assert "too few stretches" in holding.reason


def test_an_opening_that_something_else_spoilt_is_no_full_speed(tmp_path: Path) -> None:
    board = Board(tmp_path, lambda at: 0.7 if at < 5 else 1.0)
    holding = holding_of(series_on(board, 40.0), opening_of(40.0))
    assert holding.verdict == "undecided"
    assert "slower in its first seconds" in holding.reason


def test_slow_queries_take_whole_stretches_and_none_is_empty(tmp_path: Path) -> None:
    board = Board(tmp_path, lambda _: 1.0, latency_ms=1300.0)
    series = series_on(board, 30.0)
    assert all(stretch.n >= 1 for stretch in series)
    assert [s.at_s for s in series] == sorted({s.at_s for s in series})
    assert sum(s.n for s in series) == pytest.approx(30 / 1.3, abs=2)


@pytest.mark.parametrize("alike", [0.0, 0.6])
def test_bounds_of_a_shift_hold_about_as_often_as_they_say_though_neighbours_are_alike(
    alike: float,
) -> None:
    """98 % together; for so few values and an estimate of how alike they are, a little less."""
    rng, missed, tries = random.Random(5), 0, 200
    for _ in range(tries):
        both = [_noise(20, alike, rng), [value + 1.0 for value in _noise(20, alike, rng)]]
        found = rank_sum_interval(*both, CONFIDENCE, neighbours_correlation(both))
        assert found is not None
        missed += not found.low <= 1.0 <= found.high
    assert missed <= 0.06 * tries


def _noise(n: int, alike: float, rng: random.Random) -> list[float]:
    values = [rng.gauss(0, 1)]
    while len(values) < n:
        values.append(alike * values[-1] + math.sqrt(1 - alike**2) * rng.gauss(0, 1))
    return values


def test_a_shift_of_a_few_values_has_no_bounds_and_one_by_hand_is_right() -> None:
    assert rank_sum_interval([1, 2], [3, 4], CONFIDENCE) is None
    found = rank_sum_interval(range(8), range(10, 18), CONFIDENCE)
    assert found is not None and found.estimate == 10
    assert 0 < found.low < 10 < found.high


class Playing:
    """A host that has kept a bundle at work, and tells of it as the process there would.

    Args:
        stretches: what it tells.
        end: what it ends with: its last message, or what it raises.
    """

    name = "far"

    def __init__(self, stretches: list[Stretch], end: Any) -> None:
        self._stretches, self._end = stretches, end

    def stream(self, job: Any) -> Iterator[Message]:
        assert job.process == "deploy_targets.device.sustaining"
        yield {"kind": "facts", **as_dict(collect())}
        runtime = {
            "name": job.runtime, "version": "1", "threads": 1, "precision_hint": "f32",
            "executed_precision": {"summary": "f32", "operators": {"f32": 2}},
        }  # fmt: skip
        parity = {"max_abs_error": 0.0, "relative_error": 0.0, "top1_agreement": 1.0, "n": 5}
        startup = {"import": 1.0, "load": 1.0, "first_inference": 1.0}
        ready = {"runtime": runtime, "parity": parity, "startup_ms": startup, "warmup_n": 9}
        yield {"kind": "ready", **ready}
        for stretch in self._stretches:
            yield {"kind": "stretch", **as_dict(stretch)}
        if isinstance(self._end, BaseException):
            raise self._end
        yield self._end


@pytest.fixture
def played() -> Iterator[Callable[..., Any]]:
    """Registers such a host, and asks it."""

    def play(bundle: Path, stretches: list[Stretch], end: Any) -> Any:
        HOSTS._entries["far"] = lambda _url: Playing(stretches, end)
        options = SustainOptions(threads=1, seconds=SPAN_S)
        return sustain(open_any_bundle(bundle), "far://board", options)

    yield play
    HOSTS._entries.pop("far", None)


def test_a_series_is_told_in_words_and_goes_through_a_file(
    played, falling, onnx_bundle, tmp_path: Path
) -> None:
    sustained, stop = played(onnx_bundle, falling, {"kind": "sustained"})
    assert stop is None and sustained.stopped is None
    assert sustained.words.startswith("settles at 67 % (6")
    assert " of its speed after " in sustained.words
    assert sustained.validity.verdict == "valid", sustained.validity
    p95s = last_p95s(sustained)
    assert statistics.median(p95s) == pytest.approx(6 * 1.5 * 1.033, rel=0.02)
    write_sustained(tmp_path / "a.json", sustained)
    assert read_sustained(tmp_path / "a.json") == sustained


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), HostError("far: the link is cut")])
def test_what_was_told_before_it_was_stopped_is_kept_and_said_to_be_short(
    played, falling, onnx_bundle, stop
) -> None:
    sustained, stopped_by = played(onnx_bundle, falling[:40], stop)
    assert stopped_by is stop
    assert len(sustained.stretches) == 40
    assert sustained.lasted_s == pytest.approx(50, abs=1)
    assert sustained.validity.verdict == "suspect"
    (reason,) = (r for r in sustained.validity.reasons if "asked for" in r)
    assert "50 s of the 2 minutes" in reason
    assert ("interrupted" if isinstance(stop, KeyboardInterrupt) else "link is cut") in reason


@pytest.mark.parametrize(
    ("stretches", "end", "error"),
    [
        ([], KeyboardInterrupt(), KeyboardInterrupt),
        ([], {"kind": "sustained"}, HostError),
        (
            [],
            {"kind": "error", "exit_code": HostError.exit_code, "message": "no memory"},
            HostError,
        ),
        ([], {"kind": "nonsense"}, HostError),
    ],
)
def test_where_nothing_was_told_there_is_nothing_to_keep(
    played, onnx_bundle, stretches, end, error
) -> None:
    with pytest.raises(error):
        played(onnx_bundle, stretches, end)


def test_stretches_that_cannot_be_are_not_believed(played, falling, onnx_bundle) -> None:
    for wrong in (
        replace(falling[1], at_s=-1.0), replace(falling[1], n=10**6),
        replace(falling[1], samples_us="a b"), replace(falling[-1], p95_ms=1e9),
    ):  # fmt: skip
        sustained, stop = played(onnx_bundle, [falling[0], wrong], {"kind": "sustained"})
        assert "answers otherwise" in str(stop) and len(sustained.stretches) == 1


def test_a_machine_that_throttles_from_the_start_says_nothing_of_its_full_speed(
    played, onnx_bundle, tmp_path: Path
) -> None:
    hot = series_on(Board(tmp_path, lambda _: 0.6, latency_ms=400.0), SPAN_S)
    sustained, _ = played(onnx_bundle, hot, {"kind": "sustained"})
    assert sustained.holding.verdict == "holds"
    assert any("let it cool first" in reason for reason in sustained.validity.reasons)


def test_slow_queries_carry_a_p95_together(played, onnx_bundle, tmp_path: Path) -> None:
    slow = series_on(Board(tmp_path, lambda _: 1.0, latency_ms=100.0), SPAN_S)
    assert all(stretch.p95_ms is None for stretch in slow)
    sustained, _ = played(onnx_bundle, slow, {"kind": "sustained"})
    p95s = last_p95s(sustained)
    assert 2 <= len(p95s) <= 3
    assert p95s == pytest.approx([100 * 1.033] * len(p95s), rel=0.03)


def test_this_machine_is_kept_at_work_in_a_process_of_its_own(onnx_bundle) -> None:
    told: list[dict[str, Any]] = []
    options = SustainOptions(threads=1, seconds=2.0)
    sustained, stop = sustain(open_any_bundle(onnx_bundle), "local", options, told.append)
    assert stop is None
    assert sustained.lasted_s == pytest.approx(2.0, abs=1.0)
    assert sustained.parity.max_abs_error < 1e-4
    assert sustained.runtime.name == "onnxruntime"
    assert sustained.holding.verdict == "undecided"
    assert [step["step"] for step in told][:3] == ["loading", "warming up", "timing"]
    assert {step["step"] for step in told[3:]} == {"at work"}

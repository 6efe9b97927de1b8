"""What a field may hold, as everybody who asks is told it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from foundation.limits import NotEmpty, Passing, Within, bounded, problems_in


def is_even(number: int) -> None:
    if number % 2:
        raise ValueError("must be even")


@dataclass(frozen=True)
class Options:
    threads: Annotated[int, Within(1, 1024)] | None = None
    seconds: Annotated[float, Within(0, 60, above=True)] = 1.0
    hint: Literal["f32", "auto"] = "f32"
    shares: Annotated[list[Annotated[float, Within(0, 1)]] | None, NotEmpty()] = None
    pairs: Annotated[int | None, Passing(is_even)] = None


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"threads": 0}, "threads must be from 1 to 1,024, but got 0"),
        ({"threads": 1025}, "threads must be from 1 to 1,024, but got 1025"),
        ({"seconds": 0}, "seconds must be above 0 and at most 60, but got 0"),
        ({"seconds": float("nan")}, "seconds must be above 0 and at most 60, but got nan"),
        ({"hint": "bf16"}, "hint must be one of f32, auto, but got 'bf16'"),
        ({"shares": [0.5, 2.0]}, "shares[1] must be from 0 to 1, but got 2.0"),
        ({"pairs": 3}, "pairs must be even, but got 3"),
    ],
)
def test_what_a_field_cannot_hold_is_told_with_the_value(values, problem) -> None:
    assert list(problems_in(Options(**values))) == [problem]


@pytest.mark.parametrize(
    "values", [{}, {"threads": 1024, "seconds": 60.0, "shares": [0, 1], "pairs": 2}]
)
def test_the_ends_of_a_range_and_what_is_unset_are_no_problem(values) -> None:
    assert list(problems_in(Options(**values))) == []


@pytest.mark.parametrize(
    ("values", "place"),
    [({"threads": 0}, ("threads",)), ({"shares": [2.0]}, ("shares", 0)), ({"shares": []}, None)],
)
def test_pydantic_holds_to_the_same_limits_and_knows_the_place(values, place) -> None:
    adapter = TypeAdapter(Options)
    assert adapter.validate_python({"threads": 3}) == Options(threads=3)
    with pytest.raises(ValidationError) as refused:
        adapter.validate_python(values)
    assert refused.value.errors()[0]["loc"] == (place or ("shares",))


def test_a_number_is_cut_to_what_a_field_may_hold() -> None:
    assert bounded(Options, "threads", 5000) == 1024
    assert bounded(Options, "seconds", 3.5) == 3.5

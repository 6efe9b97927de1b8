"""What the value of a field may be, said beside its type: `Annotated[int, Within(1, 1024)]`.

Who builds a record from anywhere asks `problems_in` for what it cannot hold. pydantic asks each
limit by itself, through `__get_pydantic_core_schema__`, so that a recipe knows at which key it is.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

N = TypeVar("N", int, float)


class Constraint:
    """Refuses values; None is no value, and so no matter."""

    def check(self, value: Any) -> None:
        """Look at a value that has the right type.

        Raises:
            ValueError: when it cannot be: "must be …", without the value itself.
        """
        raise NotImplementedError

    def checked(self, value: Any) -> Any:
        """The value itself; errors as `check`."""
        if value is not None:
            self.check(value)
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: Callable[[Any], Any]
    ) -> Mapping[str, Any]:
        # What pydantic reads is plain data, for which nothing of it has to be imported.
        call = {"type": "no-info", "function": self.checked}
        return {"type": "function-after", "function": call, "schema": handler(source)}


class Within(Constraint):
    """A number in a range; `above`: without its lower end.

    The upper ends are far beyond what anybody can want, so that a slip of the pen is told at once
    and not by a process that takes all memory or years.
    """

    def __init__(self, low: float, high: float, *, above: bool = False) -> None:
        self.low, self.high, self.above = low, high, above

    def check(self, value: float) -> None:
        if not (self.low < value <= self.high if self.above else self.low <= value <= self.high):
            lower = f"above {self.low:,} and at most" if self.above else f"from {self.low:,} to"
            raise ValueError(f"must be {lower} {self.high:,}")


class NotEmpty(Constraint):
    """A list that has an item."""

    def check(self, value: list[Any]) -> None:
        if not value:
            raise ValueError("list should have at least 1 item after validation, not 0")


class Passing(Constraint):
    """What a function takes without a ValueError."""

    def __init__(self, look: Callable[[Any], object]) -> None:
        self.look = look

    def check(self, value: Any) -> None:
        self.look(value)


def problems_in(record: Any) -> Iterator[str]:
    """What the fields of a dataclass hold that they may not, a line each, with the value.

    Types are not looked at, but for `Literal`.
    """
    for name, hint in typing.get_type_hints(type(record), include_extras=True).items():
        yield from _problems(hint, getattr(record, name), name)


def bounded(kind: type, name: str, value: N) -> N:
    """A number, or the largest that a field of a dataclass may hold where it is larger."""
    limits = _limits_of(typing.get_type_hints(kind, include_extras=True)[name])
    for limit in limits:
        if isinstance(limit, Within):
            value = min(value, type(value)(limit.high))
    return value


def _problems(hint: Any, value: Any, name: str) -> Iterator[str]:
    if value is None:
        return
    for limit in _limits_of(hint):
        try:
            limit.check(value)
        except ValueError as error:
            yield f"{name.replace('_', ' ')} {error}, but got {value!r}"
    inner = _bare(hint)
    if typing.get_origin(inner) is typing.Literal and value not in typing.get_args(inner):
        known = ", ".join(map(str, typing.get_args(inner)))
        yield f"{name.replace('_', ' ')} must be one of {known}, but got {value!r}"
    elif typing.get_origin(inner) is list:
        for number, item in enumerate(value):
            yield from _problems(typing.get_args(inner)[0], item, f"{name}[{number}]")


def _limits_of(hint: Any) -> list[Constraint]:
    """The limits beside a type, and beside what `X | None` may be."""
    if typing.get_origin(hint) is typing.Annotated:
        inner, *beside = typing.get_args(hint)
        return [marker for marker in beside if isinstance(marker, Constraint)] + _limits_of(inner)
    return [limit for part in _union_parts(hint) for limit in _limits_of(part)]


def _bare(hint: Any) -> Any:
    """The type itself, without what stands beside it and without None."""
    if typing.get_origin(hint) is typing.Annotated:
        return _bare(typing.get_args(hint)[0])
    parts = [part for part in _union_parts(hint) if part is not types.NoneType]
    return _bare(parts[0]) if len(parts) == 1 else hint


def _union_parts(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in {types.UnionType, typing.Union}
    return typing.get_args(hint) if is_union else ()

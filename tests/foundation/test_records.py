"""Records are built strictly."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from foundation.records import RecordError, as_dict, build


@dataclass(frozen=True)
class Inner:
    count: int
    import_: float = 0.0


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    sizes: list[int]
    shares: dict[str, float]
    flag: bool
    maybe: int | None
    rest: dict[str, Any] = field(default_factory=dict)


def raw(**changes):
    return {
        "name": "n",
        "inner": {"count": 1, "import": 2},
        "sizes": [1, 2],
        "shares": {"a": 0.5},
        "flag": True,
        "maybe": None,
        **changes,
    }


def test_a_record_survives_being_written_and_read():
    record = build(Outer, raw(rest={"any": [None, "thing"]}))
    assert record.inner == Inner(1, 2.0)
    assert as_dict(record)["inner"] == {"count": 1, "import": 2.0}
    assert build(Outer, as_dict(record)) == record


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nam": 1}, "unknown key 'nam', did you mean 'name'"),
        ({"inner": {"cuont": 1}}, "unknown key 'inner.cuont', did you mean 'inner.count'"),
        ({"inner": {}}, "missing key 'inner.count'"),
        ({"inner": []}, "key 'inner' must be a table"),
        ({"inner": {"count": 1.0}}, "key 'inner.count' must be a whole number, but got 1.0"),
        ({"inner": {"count": True}}, "key 'inner.count' must be a whole number, but got True"),
        ({"sizes": 3}, "key 'sizes' must be a list, but got 3"),
        ({"sizes": [1, "2"]}, r"key 'sizes\[1\]' must be a whole number"),
        ({"shares": {"a": None}}, "key 'shares.a' must be a number"),
        ({"shares": {"a": float("nan")}}, "key 'shares.a' must be a finite number"),
        ({"flag": 1}, "key 'flag' must be true or false, but got 1"),
        ({"maybe": "1"}, "key 'maybe' must be a whole number, but got '1'"),
        ({"name": None}, "key 'name' must be text"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(RecordError, match=message):
        build(Outer, raw(**changes))


def test_a_list_is_no_record():
    with pytest.raises(RecordError, match="the whole must be a table"):
        build(Outer, [])


@dataclass(frozen=True)
class Even:
    count: int

    def problems(self):
        if self.count % 2:
            yield f"count must be even, but got {self.count}"


@dataclass(frozen=True)
class Pair:
    first: Even
    others: list[Even]


def test_a_record_tells_of_what_cannot_be_with_its_place():
    assert build(Even, {"count": 2}) == Even(2)
    with pytest.raises(RecordError, match=r"^count must be even, but got 1$"):
        build(Even, {"count": 1})
    with pytest.raises(RecordError, match=r"key 'others\[1\]': count must be even, but got 3"):
        build(Pair, {"first": {"count": 2}, "others": [{"count": 2}, {"count": 3}]})


@pytest.mark.parametrize(
    "value",
    [10**400, 10**5000, -(2**63), [10**5000], "x" * 10**6],
    ids=["long", "too long to write", "below", "in a list", "text"],
)
def test_what_goes_on_for_too_long_is_refused_in_a_short_line(value):
    for key in ("inner", "sizes", "shares", "maybe"):
        with pytest.raises(RecordError) as error:
            build(Outer, raw(**{key: {"count": value} if key == "inner" else value}))
        assert len(str(error.value)) < 300
    with pytest.raises(RecordError, match="must be a number below"):
        build(Outer, raw(shares={"a": 10**400}))

"""Records are built strictly."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from foundation.errors import CorruptFileError, MissingFileError
from foundation.records import RecordError, as_dict, build, misfits, read_record


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


@dataclass(frozen=True)
class Tolerant:
    count: int
    inner: Inner | None = None

    FURTHER_KEYS: ClassVar[bool] = True


def test_a_record_that_says_so_passes_over_keys_of_another_version():
    assert build(Tolerant, {"count": 1, "later": {}}) == Tolerant(1)
    with pytest.raises(RecordError, match=r"unknown key 'inner\.later'"):
        build(Tolerant, {"count": 1, "inner": {"count": 1, "later": {}}})
    with pytest.raises(RecordError, match="missing key 'count'"):
        build(Tolerant, {"later": {}})


@dataclass(frozen=True)
class Several:
    size: int | str
    version: Literal[1] = 1


@pytest.mark.parametrize("size", [2, "batch"])
def test_a_value_of_several_types_is_of_one_of_them(size):
    assert build(Several, {"size": size}) == Several(size)


@pytest.mark.parametrize("size", [True, 2.0, None, []])
def test_a_value_of_none_of_them_is_named(size):
    with pytest.raises(RecordError, match="key 'size' must be a whole number or text, but got"):
        build(Several, {"size": size})


@pytest.mark.parametrize("version", [True, 1.0, "1"])
def test_a_known_value_of_another_type_is_another_value(version):
    with pytest.raises(RecordError, match="key 'version' must be one of 1, but got"):
        build(Several, {"size": 1, "version": version})


def test_plain_data_within_a_record_is_looked_at_too():
    assert list(misfits(Even, {"count": 2}, "all[0]")) == []
    assert list(misfits(Even, {"count": 3}, "all[0]")) == [
        "key 'all[0]': count must be even, but got 3"
    ]


@dataclass(frozen=True)
class Marked:
    count: int
    kind: str = "marked"
    schema_version: int = 2


class TestAFile:
    @staticmethod
    def read(path: Path, content: object, record: type = Marked) -> object:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_record(path, record, "a marked file", "make it again")

    def test_becomes_a_record(self, tmp_path):
        content = {"kind": "marked", "schema_version": 2, "count": 3}
        assert self.read(tmp_path / "x.json", content) == Marked(3)

    @pytest.mark.parametrize(
        "content",
        [
            [], 3, None, {}, {"count": 3}, {"kind": "marked", "count": 3},
            {"kind": "other", "schema_version": 2, "count": 3},
            {"kind": "marked", "schema_version": 1, "count": 3},
            {"kind": "marked", "schema_version": 2.0, "count": 3},
        ],
    )  # fmt: skip
    def test_of_another_kind_or_version_is_told_so(self, tmp_path, content):
        with pytest.raises(CorruptFileError) as refused:
            self.read(tmp_path / "x.json", content)
        line = f"{tmp_path}/x.json: not a marked file of schema version 2; make it again"
        assert str(refused.value) == line

    def test_that_fits_it_badly_is_told_where_and_what_to_do(self, tmp_path):
        content = {"kind": "marked", "schema_version": 2, "count": "3"}
        with pytest.raises(CorruptFileError) as refused:
            self.read(tmp_path / "x.json", content)
        assert str(refused.value) == (
            f"{tmp_path}/x.json: not a marked file (key 'count' must be a whole number, "
            "but got '3'); make it again"
        )

    def test_that_bears_no_mark_needs_none(self, tmp_path):
        assert self.read(tmp_path / "x.json", {"count": 2}, Even) == Even(2)
        with pytest.raises(CorruptFileError, match=r"not a marked file \(the whole must be"):
            self.read(tmp_path / "x.json", [], Even)

    def test_that_is_no_json_or_not_there_is_told_so(self, tmp_path):
        with pytest.raises(CorruptFileError, match=r"not valid JSON \(.*\); make it again$"):
            self.read(tmp_path / "x.json", "{")
        with pytest.raises(MissingFileError, match="no such file"):
            read_record(tmp_path / "none.json", Marked, "a marked file", "make it again")

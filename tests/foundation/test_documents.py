"""What anybody may have written is read within bounds, and refused in one line that says where."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from foundation.documents import DEEPEST, decoded, parse_json, parse_toml
from foundation.errors import CorruptFileError, RecipeError
from foundation.files import read_bounded, read_json, read_toml

DEEP = DEEPEST + 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 100_000, "nested more than 64 deep"),
        ("[" * DEEP + "]" * DEEP, "nested more than 64 deep"),
        ('{"a":' * DEEP + "1" + "}" * DEEP, "nested more than 64 deep"),
        ("9" * 5000, "digits"),
        (f'{{"a": [0, 1{"0" * 400}]}}', "a[1] is a whole number of more than 64 bits"),
        ('{"a": {"b": NaN}}', "a.b is nan, which is no finite number"),
        ("[-Infinity]", "[0] is -inf"),
        ("1e400", "its value is inf"),
        ('{"a": "\\ud800"}', "a holds half a character"),
        ('{"\\udfff": 1}', "half a character"),
        ('{"a": "x\\u0000y"}', "a holds a NUL character"),
        ('{"a": 1, "b": 2, "a": 3}', "key 'a' stands there twice"),
        ("\0", "Expecting value"),
    ],
)
def test_json_beyond_the_bounds_is_refused_by_its_place(content: str, reason: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_json(content)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a = " + "[" * 100_000, "nested more than 64 deep"),
        ("a = " + "{b=" * 1000 + "1" + "}" * 1000, "nested more than 64 deep"),
        (".".join("a" * 1000) + " = 1", "nested more than 64 deep"),
        ("[" + ".".join("a" * 1000) + "]", "nested more than 64 deep"),
        ("a = " + "9" * 5000, "digits"),
        ("a = 0x" + "F" * 5000, "a is a whole number of more than 64 bits"),
        ("[a]\nb = [1.0, inf]", "a.b[1] is inf, which is no finite number"),
        ("a = 1e400", "a is inf"),
        ("a = nan", "a is nan"),
        ("[[stages]]\nbegun = 2026-01-01", "stages[0].begun is a date, which no key takes"),
        ('a = "\\u0000"', "a holds a NUL character"),
        ("a = 1\0", "Expected newline"),
    ],
)
def test_toml_beyond_the_bounds_is_refused_by_its_place(content: str, reason: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_toml(content)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_lies_within_the_bounds_comes_back_as_it_is() -> None:
    content = {"n": [2**64 - 1, -(2**63), 0], "x": [1e308, -0.5], "t": "τ²😀", "none": None}
    assert parse_json(json.dumps(content)) == content
    assert parse_json("[" * DEEPEST + "]" * DEEPEST) is not None
    assert parse_toml("a.b = [true, 1, 'é']\r\nc = 1\r\n") == {"a": {"b": [True, 1, "é"]}, "c": 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("x = 1".encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
        ("x = 1".encode("utf-32"), "it is UTF-32 text; save it as UTF-8"),
        ("a = 1\nb = 'Käse'".encode("latin-1"), "byte 0xE4 in line 2 is not UTF-8"),
    ],
)
def test_text_that_is_not_utf_8_is_told_with_its_line(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decoded(content)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("seed = 3", encoding="utf-8-sig")
    (tmp_path / "x.json").write_text('{"seed": 3}', encoding="utf-8-sig")
    assert read_toml(tmp_path / "x.toml", "recipe") == ({"seed": 3}, "seed = 3")
    assert read_json(tmp_path / "x.json") == {"seed": 3}


def test_no_more_of_a_file_is_read_than_it_may_have(tmp_path: Path) -> None:
    """A sparse file of 8 GiB takes neither the time nor the memory of one."""
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(8 << 30)
    with pytest.raises(CorruptFileError, match="huge: larger than 64 MiB"):
        read_json(huge)
    with pytest.raises(RecipeError, match="huge: larger than 1 MiB"):
        read_toml(huge, "recipe")
    (tmp_path / "three").write_bytes(b"abc")
    assert read_bounded(tmp_path / "three", 3) == b"abc"


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="is a folder"):
        read_json(tmp_path)
    with pytest.raises(RecipeError, match="is a folder"):
        read_toml(tmp_path, "recipe")


def test_many_keys_of_which_the_last_stands_twice_are_no_work() -> None:
    keys = [f'"{number}": 0' for number in range(200_000)]
    with pytest.raises(ValueError, match="key '199999' stands there twice"):
        parse_json("{" + ", ".join([*keys, keys[-1]]) + "}")


def test_a_nan_of_our_own_cannot_be_written_and_so_is_never_read() -> None:
    assert math.isnan(json.loads("NaN")), "Python's own reader takes it"
    with pytest.raises(ValueError, match="no finite number"):
        parse_json("NaN")

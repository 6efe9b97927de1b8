from __future__ import annotations

import errno

import pytest

from foundation import errors
from foundation.errors import CompressError, UnknownNameError, is_no_space, nearest, unknown_name

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CompressError)
]


def test_every_kind_has_an_exit_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in KINDS]
    assert len(KINDS) > 10
    assert len(set(codes)) == len(codes)


def test_no_exit_code_means_something_else_to_a_shell() -> None:
    """0 is success, 1 a Python traceback, 126 and up are the shell's own."""
    for kind in KINDS:
        assert 2 <= kind.exit_code < 126


def test_every_kind_is_a_direct_one_and_says_what_it_is() -> None:
    for kind in KINDS:
        assert kind.__doc__
        assert kind is CompressError or kind.__bases__ == (CompressError,)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet2", "resnet20"), ("Resnet20", "resnet20"), ("kdd", "kd"), ("zzz", None), ("", None)],
)
def test_the_nearest_name_is_one_that_looks_like_it(name: str, expected: str | None) -> None:
    assert nearest(name, ["resnet20", "kd", "mobilenet"]) == expected


def test_an_unknown_name_is_quoted_with_its_place_the_nearest_and_all() -> None:
    error = unknown_name("method", "kdd", ["rkd", "at", "kd"], where="recipe.toml: stages[0]")
    assert isinstance(error, UnknownNameError)
    assert str(error) == (
        "recipe.toml: stages[0]: unknown method 'kdd', did you mean 'kd'? Known: at, kd, rkd"
    )


def test_a_name_that_looks_like_nothing_gets_the_list_alone() -> None:
    assert str(unknown_name("method", "zzz", {"kd"})) == "unknown method 'zzz'. Known: kd"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EFBIG, True), (errno.EACCES, False)],
)
def test_a_full_disk_is_told_from_other_troubles(number: int, expected: bool) -> None:
    assert is_no_space(OSError(number, "what the system says")) is expected

from __future__ import annotations

import pytest

from pipeline.data.kinds import a_few, is_foreign_image, is_hidden, is_image, shown


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.JPEG", "a.jfif", "a.JPE", "a.pgm", "a.WebP", "a.b.tif", "a.apng", "ü.dib"]
)
def test_an_image_is_known_by_its_suffix_in_any_case(name: str) -> None:
    assert is_image(name)


@pytest.mark.parametrize(
    "name", ["._a.jpg", ".a.png", "jpg", "a", "a.jpg~", "a.txt", "a.heic", "a.eps", "a.svg", ""]
)
def test_what_has_no_such_suffix_or_hides_is_none(name: str) -> None:
    assert not is_image(name)


def test_a_picture_that_is_not_read_is_known_too() -> None:
    assert is_foreign_image("IMG_1.HEIC")
    assert not is_foreign_image("heic")


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints", ".DS_Store", "__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"]
)
def test_what_systems_leave_behind_is_nobodys_data(name: str) -> None:
    assert is_hidden(name)


def test_names_of_any_bytes_can_be_shown() -> None:
    odd = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert shown(odd) == r"caf\xe9"
    assert a_few([odd, "line\nbreak", "c", "d"], 2) == r"'caf\\xe9', 'line\nbreak', …"

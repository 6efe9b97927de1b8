from __future__ import annotations

import pytest

from foundation.places import without_folders


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("folder:/home/me/photos", "folder:photos"),
        ('{"data": "/home/me/coco.yaml", "names": ["a/b", "1/2"]}',
         '{"data": "coco.yaml", "names": ["a/b", "1/2"]}'),
        ("~/x/y.pt and ~me/x/y.pt", "y.pt and y.pt"),
        (r"C:\Users\me\x.pt", "x.pt"),
        (r"\\server\share\x.pt", "x.pt"),
        ("file:///home/me/x.pt", "x.pt"),
        ("https://example.org/a/b and http://h:80/c/d", "https://example.org/a/b and http://h:80/c/d"),
        ("pixel / 255, 3/4, </b></i>", "pixel / 255, 3/4, </b></i>"),
    ],
)  # fmt: skip
def test_of_an_absolute_path_its_last_component_is_left(text: str, left: str) -> None:
    assert without_folders(text) == left

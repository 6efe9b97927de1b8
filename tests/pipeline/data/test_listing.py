from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.decoding import DecodedImages
from pipeline.data.framing import Fit
from pipeline.data.images import Subset
from pipeline.data.listing import Listing, Names


def test_names_come_back_as_they_were_given() -> None:
    given = ["a/b.jpg", "", "ü/字.png", "x" * 300, "last"]
    names = Names(given)
    assert [names[index] for index in range(len(names))] == given
    assert len(names) == 5


def test_a_name_that_is_no_text_comes_back_too() -> None:
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert Names([name])[0] == name


def test_a_listing_knows_its_files_by_their_paths(tmp_path: Path) -> None:
    listing = Listing(tmp_path, ["c/1.png", "c/2.png"])
    assert listing.open(1) == tmp_path / "c/2.png"
    assert listing.name(0) == str(tmp_path / "c/1.png")


def synthetic(count: int) -> Iterator[str]:
    """Names as long as ImageNet's; every thousandth is a real file."""
    for number in range(count):
        yield "real.png" if number % 1000 == 0 else f"n{number % 1000:08}/n{number:013}.JPEG"


@pytest.mark.parametrize("count", [120_000, pytest.param(1_200_000, marks=pytest.mark.slow)])
def test_a_long_listing_takes_few_bytes_a_file_and_reading_takes_no_more(
    tmp_path: Path, count: int
) -> None:
    Image.new("RGB", (8, 8), (9, 8, 7)).save(tmp_path / "real.png")
    real = np.arange(0, count, 1000)

    def read_some(images: Subset) -> None:
        for start in range(0, 60, 20):
            assert (images.read(real[start : start + 20]) == (9, 8, 7)).all()

    tracemalloc.start()
    try:
        listing = Listing(tmp_path, synthetic(count))
        listed, peak = tracemalloc.get_traced_memory()
        assert listed / count < 50
        assert peak / count < 60
        images = Subset(
            DecodedImages(listing, np.arange(count) % 1000, Fit(32, 32)), np.arange(count)
        )
        assert tracemalloc.get_traced_memory()[0] / count < 80
        read_some(images)  # what threads and decoders set up once
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            read_some(images)
        # Less than two of the nine batches.
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
    finally:
        tracemalloc.stop()

"""A report that lies there is left alone as long as it would be drawn the same, and no longer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.report.write import report
from pipeline.run_folder.folder import RunFolder


def drawn_anew(run: RunFolder) -> bool:
    """Whether a call of `report` writes the page."""
    page = run.path / "report.html"
    before = page.stat().st_ino if page.is_file() else None
    report(run)
    return page.stat().st_ino != before  # a file that is written takes the old one's place


def touch_the_weights(run: RunFolder) -> None:
    os.utime(run.student, ns=(1, 1))


def edit_the_page(run: RunFolder) -> None:
    (run.path / "report.html").write_text("mine")


def lose_the_summary(run: RunFolder) -> None:
    (run.path / "report.md").unlink()


def add_a_file(run: RunFolder) -> None:
    (run.path / "bench" / "more.txt").write_text("more")


@pytest.fixture
def whole(own: RunFolder) -> RunFolder:
    report(own)
    assert not drawn_anew(own)
    return own


@pytest.mark.parametrize("change", [touch_the_weights, edit_the_page, lose_the_summary, add_a_file])
def test_it_is_drawn_anew_once_something_changed(
    whole: RunFolder, change: Callable[[RunFolder], None]
) -> None:
    change(whole)
    assert drawn_anew(whole)
    assert not drawn_anew(whole)
    assert (whole.path / "report.html").read_text() != "mine"


def test_a_fact_in_the_record_counts_and_when_it_was_read_does_not(whole: RunFolder) -> None:
    whole.mark_used()
    assert not drawn_anew(whole)
    whole.note(name="another")
    assert drawn_anew(whole)


def test_a_file_that_is_written_again_with_the_same_content_does_not_count(
    whole: RunFolder,
) -> None:
    for path in (*whole.measurement_paths(), whole.recipe_path):
        path.write_bytes(path.read_bytes())
    assert not drawn_anew(whole)


def test_in_another_folder_it_is_always_written(whole: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for _ in range(2):
        page, *_ = report(whole, tmp_path / "there")
        assert page.is_file()
        page.unlink()

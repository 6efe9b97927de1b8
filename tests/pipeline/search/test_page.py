"""A search's page: every trial where its front has it, and what was picked on the first screen."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from pipeline.gating.metrics import Figure
from pipeline.search.folder import SearchFolder
from pipeline.search.front import front_of
from pipeline.search.page import write_page
from pipeline.search.points import TrialNote, write_note
from pipeline.search.record import JudgedPick, Picked, SearchRecord, TrialLeftOut

OBJECTIVES = ["accuracy", "latency_p50"]
PICK = JudgedPick(
    at="2026-01-01T00:00:00+00:00", asked="size<=1MB", trial=1, folder="trials/0001",
    bundle="trials/0001/bundles/local-onnx-fp32", manifest_sha256="1" * 64,
    top1_percent=Figure(90, 80, 95), teacher_top1_percent=Figure(95, 90, 98),
    drop_points=Figure(5, 1, 9),
)  # fmt: skip


@pytest.fixture
def search(tmp_path: Path) -> SearchFolder:
    (tmp_path / "some <search>").mkdir()
    return SearchFolder(tmp_path / "some <search>")


@pytest.fixture
def record(point, search: SearchFolder) -> SearchRecord:
    points = [
        point(0, "ffff", (2.0, 1.9, 2.1), size=0.3),
        point(1, "7fff", (1.0, 0.9, 1.1), size=0.2, doubts=["the clock <fell>"]),
        point(2, "00ff", (3.0, 2.9, 3.1), size=0.4),
    ]
    for one in points:
        write_note(search.path / one.folder, TrialNote(state="finished", point=one))
    return SearchRecord(
        objectives=OBJECTIVES, trials=4, reference=None, points=front_of(points, OBJECTIVES),
        left_out=[TrialLeftOut(3, "failed", "no space", {})],
    )  # fmt: skip


def test_before_a_pick_it_says_that_there_was_none(
    search: SearchFolder, record: SearchRecord
) -> None:
    text = write_page(search, record).read_text()
    assert "Nothing was picked yet" in text
    assert html.escape("some <search>") in text and "some <search>" not in text
    first_screen = html.unescape(text[: text.index("<h2>")])
    assert "Accuracies of the points are those of the validation images." in first_screen
    assert "trial 3: failed: no space" in html.unescape(text[text.index('id="notes"') :])
    assert "3 points, 1 on the front, 1 tied with it" in first_screen


def test_what_was_picked_stands_first_with_its_doubts_and_the_test_images_word(
    search: SearchFolder, record: SearchRecord, tmp_path: Path
) -> None:
    picked = SearchRecord(**{**vars(record), "picked": Picked(PICK, "it is small")})
    text = html.unescape(write_page(search, picked, tmp_path).read_text())
    first_screen = text[: text.index("<h2>")]
    for words in (
        "Ship trial 1", "1.000 ms", "200 kB", "93.75 %",
        "the measurement of trial 1 is suspect: the clock <fell>; drawn: student.model = resnet8",
        "judged once: 90.00 % (80.00 to 95.00), 5.00 points (1.00 to 9.00) below",
    ):  # fmt: skip
        assert words in first_screen, words
    assert not (search.path / "report.html").exists()

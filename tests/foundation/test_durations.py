from __future__ import annotations

import pytest

from foundation.durations import seconds_in, span_words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("30m", 1800), ("1h", 3600), ("1h30m", 5400), ("2m30s", 150), ("0.5h", 1800),
        (" 5s ", 5), ("1h1s", 3601),
    ],
)  # fmt: skip
def test_spans_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "30 m", "1m1h", "-5s", "5x", "1e3s", "1h h", "∞s"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a span of time such as 90s, 30m or 1h30m$"):
        seconds_in(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 s"), (3.25, "3.2 s"), (42, "42 s"), (119, "119 s"), (120, "2 minutes"),
        (270, "4.5 minutes"), (1800, "30 minutes"), (5400, "90 minutes"), (7200, "2 hours"),
        (9000, "2.5 hours"),
    ],
)  # fmt: skip
def test_spans_are_told_in_short(seconds: float, words: str) -> None:
    assert span_words(seconds) == words

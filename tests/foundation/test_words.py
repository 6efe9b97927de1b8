"""Text from elsewhere: nothing that a terminal obeys, and no password."""

import pytest

from foundation.errors import CompressError, HostError
from foundation.words import plain, without_password


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, 3 × 4", "plain words, 3 × 4"),
        ("a\nb\tc d", "a\nb\tc d"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("back\r\x08", "back\\r\\x08"),
        ("\x9b2J", "\\x9b2J"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert plain(text) == shown


def test_an_error_quotes_without_a_word_to_the_terminal():
    assert str(HostError("far: \x1b]0;title\x07")) == "far: \\x1b]0;title\\x07"
    assert str(CompressError()) == ""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ssh://u:pa/ss@h", "ssh://u:…@h"),
        ("ssh://u:p#x@h:22/f", "ssh://u:…@h:22/f"),
        ("ssh://u:p?q@w@h", "ssh://u:…@h"),
        ("ssh://u:p w@h", "ssh://u:…@h"),
        ("ssh://u:p\nw@h", "ssh://u:…@h"),
        ("ssh://:pw@h", "ssh://:…@h"),
        ("ssh://a@b:c@h", "ssh://a@b:…@h"),
        ("ssh:///u:pw@h", "ssh:///u:…@h"),
        ("u:pw@h", "u:…@h"),
        ("ssh:u:pw@h", "ssh:…@h"),
        ("ssh://u:secret", "ssh://u:…"),
        ("ssh://pi@h:2222/x", "ssh://pi@h:2222/x"),
        ("ssh://pi@h:2222/x@y", "ssh://pi@h:2222/x@y"),
        ("ssh://h:22/a", "ssh://h:22/a"),
        ("ssh://[::1]:22", "ssh://[::1]:22"),
        ("local", "local"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert without_password(url) == shown

"""What a URL says, and what it must not."""

import pytest

from deploy_targets.remote.address import Address, parse_address
from foundation.errors import HostError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ssh://pi", Address("ssh://pi", "pi")),
        ("ssh://pi@Board_7", Address("ssh://pi@Board_7", "Board_7", "pi")),
        ("ssh://pi@h:2222", Address("ssh://pi@h:2222", "h", "pi", 2222)),
        ("ssh://h/data/x/", Address("ssh://h/data/x/", "h", folder="/data/x")),
        ("ssh://[::1]:22", Address("ssh://[::1]:22", "::1", port=22)),
    ],
)
def test_a_url_names_user_host_port_and_folder(url, address):
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ssh://", "no host name"),
        ("ssh://h:port", "port"),
        ("ssh://-oProxyCommand=x", "no plain name"),
        ("ssh://-l@h", "no plain name"),
        ("ssh://h?x=1", "no [?] or # belongs"),
        ("ssh://pi:secret@h", "no place for a password"),
        ("ssh://pi:secret/x@h", "no place for a password"),
        ("ssh://pi:#secret@h", "no place for a password"),
        ("ssh://pi:secret", "no port"),
        ("http://dev", "ssh://, not http"),
        ("local://x", "ssh://, not local"),
        ("pi@h", "not a bare name"),
    ],
)
def test_a_url_that_is_none_is_refused_in_one_line(url, words):
    with pytest.raises(HostError, match=words) as refused:
        parse_address(url)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)

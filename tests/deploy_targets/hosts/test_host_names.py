"""What a URL says, and what it must not."""

import pytest

from deploy_targets.hosts.host_names import (
    Address,
    bundle_named_in,
    name_with_host,
    parse_address,
    password_problem,
    scheme_of,
)
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


@pytest.mark.parametrize(("url", "scheme"), [("local", "local"), ("ssh://a:1/b", "ssh"), ("", "")])
def test_the_scheme_tells_how_a_machine_is_reached(url, scheme):
    assert scheme_of(url) == scheme


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("local", "b@local"),
        ("ssh://pi@h.local:22/data", "b@ssh_pi_h.local_22_data"),
        ("ssh://[::1]", "b@ssh_1_"),
    ],
)
def test_a_file_is_named_by_bundle_and_machine(host, name):
    assert name_with_host("b", host) == name


@pytest.mark.parametrize("bundle", ["rpi-int8", "my@board-onnx-int8", "@"])
@pytest.mark.parametrize("host", ["local", "ssh://pi@h"])
def test_the_bundle_is_found_again_in_a_files_name(bundle, host):
    assert bundle_named_in(f"{name_with_host(bundle, host)}.server.batch4.json") == bundle


def test_what_may_be_a_password_is_kept_out_of_files():
    assert password_problem("local") is None
    assert password_problem("ssh://pi@h:22/x") is None
    for url in ("ssh://pi:secret@h", "ssh://pi:secret"):
        assert "no place for a password" in str(password_problem(url))

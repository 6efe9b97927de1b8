"""What is made of ssh's own words."""

import pytest

from deploy_targets.hosts.host_names import parse_address
from deploy_targets.remote.link import explain, ssh_command

ADDRESS = parse_address("ssh://pi@board:2222")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ssh: Could not resolve hostname board: Name or service not known", "cannot be reached"),
        ("ssh: connect to host board port 2222: Connection refused", "Connection refused"),
        ("ssh: connect to host board port 2222: Connection timed out", "that it is on"),
        ("pi@board: Permission denied (publickey).", "ssh-copy-id -p 2222 pi@board"),
        ("No ED25519 host key is known for board\nHost key verification failed.", "connect once"),
        ("", "cannot be reached; check"),
    ],
)
def test_what_ssh_says_becomes_one_line_with_what_to_do(said, words):
    line = explain(ADDRESS, said, heard=False)
    assert words in line
    assert "\n" not in line
    assert "StrictHostKeyChecking" not in line


def test_a_link_that_was_there_is_said_to_be_lost():
    assert "link was lost" in explain(ADDRESS, "client_loop: send disconnect", heard=True)


def test_host_key_checking_is_left_to_the_users_config():
    command = ssh_command(ADDRESS, ["true"])
    assert "BatchMode=yes" in command
    assert not any("StrictHostKeyChecking" in w or "KnownHosts" in w for w in command)
    assert command[command.index("--") :] == ["--", "board", "true"]

"""A user without a home folder or a name, as `docker run --user 12345` makes one; and "~"."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import MissingFileError
from foundation.files import user_path
from pipeline.cli._leaving import _with_home
from pipeline.cli._user import _temporary_home

UNKNOWN = ["unshare", "-U", "--map-user=12345", "--map-group=12345"]
NAMELESS = {"HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"}


@pytest.fixture
def unknown(tmp_path: Path):
    """Runs a command as a user whom nobody knows."""
    if (
        not shutil.which("unshare")
        or subprocess.run([*UNKNOWN, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no user of our own can be made here")
    environment = {key: value for key, value in os.environ.items() if key not in NAMELESS}

    def call(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*UNKNOWN, *command], env={**environment, "TMPDIR": str(tmp_path), **more}, text=True,
            capture_output=True, check=False, cwd=tmp_path,
        )  # fmt: skip

    return call


@pytest.mark.parametrize("words", [("targets",), ("device", "list"), ("gate", "nothing")])
def test_a_user_whom_nobody_knows_can_work(unknown, words: tuple[str, ...], tmp_path: Path) -> None:
    done = unknown(sys.executable, "-m", "pipeline", *words)
    assert done.returncode == (2 if words[0] == "gate" else 0), done.stderr
    assert done.stderr.startswith(
        f"note: this user has no home folder; what is kept for later is in {tmp_path}"
    )
    again = unknown(sys.executable, "-m", "pipeline", *words)
    assert again.stderr == done.stderr, "each command has the same folder"


def test_libraries_that_ask_for_the_users_name_are_answered(unknown) -> None:
    code = (
        "from pipeline.cli._user import stand_in_for_unknown_user as stand_in; import getpass\n"
        "stand_in(); print(getpass.getuser())"
    )
    done = unknown(sys.executable, "-c", code, HOME="/")
    assert (done.stdout, done.stderr) == ("user-12345\n", "")


def test_a_folder_that_somebody_planted_is_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert _temporary_home() == _temporary_home()
    (tmp_path / f"compress-home-{os.getuid()}").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"compress-home-{os.getuid()}").symlink_to("elsewhere")
    home = _temporary_home()
    assert home.name != f"compress-home-{os.getuid()}"
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_tilde_is_a_home_folder_wherever_a_path_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/photos") == tmp_path / "photos"
    assert _with_home("--budget=~/b.toml") == f"--budget={tmp_path}/b.toml"
    assert _with_home("~/run") == f"{tmp_path}/run"
    for word in ("--json", "run~", "--set=x=~/y", "~nosuch/x", "--run=~nosuch/x"):
        assert _with_home(word) == word


def test_the_home_of_nobody_is_told() -> None:
    with pytest.raises(MissingFileError, match="~nosuch/x: there is no home folder of that user"):
        user_path("~nosuch/x")

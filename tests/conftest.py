"""What tests of several rooms share."""

from __future__ import annotations

import hashlib
import os
import re
import runpy
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loopback_sshd import SSHD, FakeDevice, serving

from deploy_targets.remote.provisioning import packages_for, set_up


@pytest.fixture(scope="session", autouse=True)
def _nothing_kept_at_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What code a user said yes to is remembered outside the run folder; not that of tests."""
    os.environ["COMPRESS_TRUSTED"] = str(tmp_path_factory.getbasetemp() / "trusted")


@pytest.fixture(scope="session")
def doomed() -> dict[str, str]:
    """The environment of a process that will be killed: not asked for coverage, whose data file
    it would leave half-written."""
    asks = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
    return {key: value for key, value in os.environ.items() if key not in asks}


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDevice]:
    """An SSH server on loopback with throw-away keys: a device that nothing was put on."""
    if SSHD is None:
        pytest.skip("there is no sshd here (Debian and Ubuntu: `apt-get install openssh-server`)")
    with serving(tmp_path_factory.mktemp("ssh") / "device") as device:
        yield device


@pytest.fixture(scope="session")
def set_up_device(sshd: FakeDevice, tmp_path_factory: pytest.TempPathFactory) -> FakeDevice:
    """The same once it was set up, with wheels that pip fetched."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COMPRESS_SSH_CONFIG", str(sshd.config))
        environment.setenv("COMPRESS_DEVICES", str(tmp_path_factory.mktemp("devices")))
        set_up(sshd.url, packages_for(None, ["onnxruntime"]), lambda _line: None, from_here=True)
    return sshd


@pytest.fixture
def device(
    set_up_device: FakeDevice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> FakeDevice:
    """A device that was set up, reached with the ssh config of the tests."""
    monkeypatch.setenv("COMPRESS_SSH_CONFIG", str(set_up_device.config))
    monkeypatch.setenv("COMPRESS_DEVICES", str(tmp_path / "devices"))
    return set_up_device


@pytest.fixture
def times_hashed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Path], dict[str, int]]:
    """How often each file in a folder was read for its SHA-256, by this process and by those that
    it started, since the test began; what was hashed before the folder had its name counts too."""
    log, folder = tmp_path / "hashed.log", Path(__file__).with_name("tools") / "hash_log"
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setenv("HASH_LOG", str(log))
    monkeypatch.setattr(hashlib, "file_digest", hashlib.file_digest)  # to be put back at the end
    runpy.run_path(str(folder / "sitecustomize.py"))
    log.touch()

    def count(there: Path) -> dict[str, int]:
        names = (re.sub(r"/\.([^/]+)\.tmp/", r"/\1/", line) for line in log.read_text().split("\n"))
        root = there.resolve()
        return dict(
            Counter(str(Path(one).relative_to(root)) for one in names if root in Path(one).parents)
        )

    return count


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A file system in memory of 160 kB, and a function that gives it another size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not _mount("-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)):
        pytest.skip("a small disk cannot be mounted here: that needs root and the right to mount")

    def resize(size: str) -> None:
        assert _mount("-o", f"remount,size={size}", str(folder))

    yield folder, resize
    subprocess.run(["umount", str(folder)], check=True)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0

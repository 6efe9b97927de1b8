"""A real OpenSSH server on loopback, with keys that are thrown away: a device for tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from processes import children_of

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_PATIENCE_S = 20


@dataclass
class FakeDevice:
    """A server of one's own.

    Attributes:
        folder: for its files; `home` is what logins there take for their data folder.
        port: on 127.0.0.1.
        config: an ssh config file that knows our key, and those of all servers beside this one.
        known_hosts: the file with the latter.
    """

    folder: Path
    port: int
    config: Path
    known_hosts: Path
    home: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def ours(self) -> Path:
        """Where a set-up puts everything."""
        return self.home / "edge-compress"

    def connections(self) -> list[int]:
        """Process ids of its sessions."""
        return children_of(self.process.pid)

    def cut(self) -> None:
        """Cut every link, as when a cable is pulled: without a word to either side."""
        for pid in self.connections():
            for one in [*children_of(pid), pid]:
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # gone by itself
                    if "sshd" in Path(f"/proc/{one}/comm").read_text():
                        os.kill(one, signal.SIGKILL)


def ssh_config(user_key: Path, known_hosts: Path) -> str:
    """A client's config that looks at nothing of this machine's."""
    lines = {
        "IdentityFile": user_key, "IdentitiesOnly": "yes", "IdentityAgent": "none",
        "UserKnownHostsFile": known_hosts, "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
    }  # fmt: skip
    return "".join(f"{key} {value}\n" for key, value in lines.items())


@contextlib.contextmanager
def serving(folder: Path, *, login: Callable[[Path], Path] | None = None) -> Iterator[FakeDevice]:
    """Run a server for as long as the block lasts.

    Args:
        folder: new; servers with the same parent share an ssh config.
        login: makes, in that folder, a program that every login runs in the place of a shell.
    """
    assert SSHD, "no sshd here"
    home = folder / "home"
    home.mkdir(parents=True)
    user_key, known = folder.parent / "user_key", folder.parent / "known_hosts"
    config = folder.parent / "ssh_config"
    if not config.exists():
        _make_key(user_key)
        config.write_text(ssh_config(user_key, known))
    _make_key(folder / "host_key")
    port = _free_port()
    settings = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host_key",
        "AuthorizedKeysFile": user_key.with_suffix(".pub"), "UsePAM": "no",
        "StrictModes": "no", "PasswordAuthentication": "no", "KbdInteractiveAuthentication": "no",
        "SetEnv": f"XDG_DATA_HOME={home}", "MaxStartups": "100", "PidFile": folder / "pid",
    }  # fmt: skip
    if login:
        settings["ForceCommand"] = login(folder)
    (folder / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in settings.items()))
    with known.open("a") as file:
        file.write(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    device = FakeDevice(folder, port, config, known, home, process)
    try:
        _wait_for(device)
        yield device
    finally:
        device.cut()
        process.terminate()
        process.wait()


def another_machine(folder: Path) -> Path:
    """A login on a machine that was started at another time than ours, and so is another.

    It needs root and the right to mount.
    """
    (folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
    command = folder / "login"
    command.write_text(
        "#!/bin/sh\n"
        f"exec unshare -m sh -c 'mount --bind {folder}/boot_id /proc/sys/kernel/random/boot_id && "
        'exec sh -c "$SSH_ORIGINAL_COMMAND"\'\n'
    )
    command.chmod(0o755)
    return command


def _make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def _wait_for(device: FakeDevice) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        assert device.process.poll() is None, (device.folder / "log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", device.port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("sshd does not listen")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])

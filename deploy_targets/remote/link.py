"""The system's OpenSSH client, as the user has set it up: config, agent, jump hosts, known hosts.

One connection is shared by all that is started on a device within half a minute, so that each
further process costs a round trip and no handshake. Nothing about keys is decided here: a host that
ssh does not know is refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy_targets.hosts.host_names import Address
from foundation.errors import HostError

CONFIG_VARIABLE = "COMPRESS_SSH_CONFIG"
SSH_FAILED = 255

_CONNECT_SECONDS = 15
_ALIVE_SECONDS, _ALIVE_TIMES = 5, 3
_LINGER_SECONDS = 30
_OPTIONS = {
    # Nobody is there to be asked.
    "BatchMode": "yes",
    "ConnectTimeout": _CONNECT_SECONDS,
    # A dead link is noticed after a quarter of a minute.
    "ServerAliveInterval": _ALIVE_SECONDS,
    "ServerAliveCountMax": _ALIVE_TIMES,
    "ControlMaster": "auto",
    "ControlPersist": _LINGER_SECONDS,
    # What a config may have for people at a terminal.
    "ClearAllForwardings": "yes",
    "RemoteCommand": "none",
}


def ssh_command(address: Address, remote: Sequence[str]) -> list[str]:
    """The command that runs `remote` on the device, its standard streams being ours.

    Raises:
        HostError: when there is no safe place for the shared connection's socket.
    """
    config = os.environ.get(CONFIG_VARIABLE)
    options = {**_OPTIONS, "ControlPath": _socket(config)}
    return [
        "ssh", "-T",
        *(["-F", config] if config else []),
        *(word for key, value in options.items() for word in ("-o", f"{key}={value}")),
        *(["-l", address.user] if address.user else []),
        *(["-p", str(address.port)] if address.port else []),
        "--", address.host, shlex.join(remote),
    ]  # fmt: skip


def explain(address: Address, stderr: str, *, heard: bool) -> str:
    """What to tell the user when ssh itself gave up.

    Args:
        address: of the device.
        stderr: what ssh wrote to standard error.
        heard: whether the device had answered before.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = f" ({lines[-1][:300]})" if lines else ""
    if "IDENTIFICATION HAS CHANGED" in stderr or "REVOKED HOST KEY" in stderr:
        return _changed_key(address, stderr)
    if "Host key verification failed" in stderr:
        return (
            f"its host key is not known here; connect once with `{_by_hand(address)}`, compare the "
            "fingerprint with the one that the device itself shows (`ssh-keygen -lf "
            "/etc/ssh/ssh_host_ed25519_key.pub`), and run this again"
        )
    if "Permission denied" in stderr or "Too many authentication failures" in stderr:
        return (
            f"it does not let us in{last}; check the user's name, and give it a key with "
            f"`ssh-copy-id{_destination(address)}` (one with a passphrase has to be in ssh-agent)"
        )
    if heard:
        return f"the link was lost{last}; run the same command again"
    return (
        f"cannot be reached{last}; check that it is on, in this network, and that "
        f"`{_by_hand(address)}` works"
    )


def _changed_key(address: Address, stderr: str) -> str:
    offending = re.search(r"Offending \S+ key in (\S+):(\d+)", stderr)
    where = f"line {offending[2]} of {offending[1]}" if offending else "the known hosts"
    name = f"[{address.host}]:{address.port}" if address.port else address.host
    file = f" -f {shlex.quote(offending[1])}" if offending else ""
    return (
        f"its host key is not the one in {where}: it was set up anew, or another machine answers "
        "in its place; compare with the fingerprint that the device itself shows (`ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub`), and only if it is that one forget the old one with "
        f"`ssh-keygen -R '{name}'{file}`"
    )


def _by_hand(address: Address) -> str:
    config = os.environ.get(CONFIG_VARIABLE)
    return f"ssh{f' -F {shlex.quote(config)}' if config else ''}{_destination(address)}"


def _destination(address: Address) -> str:
    port = f" -p {address.port}" if address.port else ""
    return f"{port} {f'{address.user}@' if address.user else ''}{address.host}"


def _socket(config: str | None) -> str:
    """Connections are shared only by those who read the same config."""
    digest = hashlib.sha256((config or "").encode()).hexdigest()[:8]
    return str(_socket_folder() / f"{digest}-%C")


def _socket_folder() -> Path:
    """Short, for a socket's path may have 104 characters, and nobody else's."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) if runtime and len(runtime) < 30 else Path(tempfile.gettempdir())
    if len(str(base)) > 30:
        base = Path("/tmp")
    folder = base / f"compress-ssh-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise HostError(f"{folder}: cannot be made ({error.strerror}); check its rights") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise HostError(f"{folder}: is not a folder of yours alone; take it away")
    return folder

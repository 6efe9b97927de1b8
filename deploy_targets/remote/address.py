"""Where a device is: ssh://user@host:port/folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from foundation.errors import HostError

SCHEME = "ssh"
EXAMPLE = "ssh://pi@raspberrypi.local"

_PLAIN = re.compile(r"[\w.:%@+][\w.:%@+-]*")


@dataclass(frozen=True)
class Address:
    """A device, as its user named it.

    Attributes:
        url: as it was written; the device's name in a measurement.
        host: name, address, or an alias of the user's ssh config.
        user, port: None for what the ssh config says.
        folder: on the device, where everything of ours lies; None for the default.
    """

    url: str
    host: str
    user: str | None = None
    port: int | None = None
    folder: str | None = None


def parse_address(url: str) -> Address:
    """Take a URL apart.

    Raises:
        HostError: when it is none of ours; a password in it is refused.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong(url, str(error)) from error
    if parts.password is not None:
        raise HostError(
            f"host {_without_password(url)!r}: a URL is no place for a password; use a key "
            "(`ssh-copy-id`)"
        )
    if not parts.hostname or parts.query or parts.fragment:
        raise _wrong(url, "there is no host name" if not parts.hostname else "no ? or # belongs")
    # The host as it was written: an alias of the ssh config may have capitals.
    host = parts.netloc.rpartition("@")[2]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    user = unquote(parts.username) if parts.username else None
    for word in (host, *([user] if user else [])):
        # What begins with a dash, ssh would take for an option.
        if not _PLAIN.fullmatch(word):
            raise _wrong(url, f"{word!r} is no plain name")
    folder = unquote(parts.path).rstrip("/") or None
    if folder and not folder.isprintable():
        raise _wrong(url, f"{folder!r} is no plain path")
    return Address(url, host, user, port, folder)


def _wrong(url: str, reason: str) -> HostError:
    return HostError(f"host {url!r}: {reason}; write it like {EXAMPLE} or {EXAMPLE}:2222/folder")


def _without_password(url: str) -> str:
    return re.sub(r":[^:@/]*@", ":…@", url, count=1)

"""How a machine is named: "local", or a device's URL, ssh://user@host:port/folder; in the names of
files too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from foundation.errors import HostError
from foundation.words import without_password

LOCAL = "local"
SCHEME = "ssh"
EXAMPLE = "ssh://pi@raspberrypi.local"

_PLAIN = re.compile(r"[\w.:%@+][\w.:%@+-]*")
_NOT_IN_A_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_NO_PASSWORD = "a URL is no place for a password; use a key (`ssh-copy-id`)"


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
    refuse_password(url)
    shown = without_password(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        reason = "there is no port" if shown != url else str(error)
        raise _wrong(shown, reason) from error
    if parts.scheme != SCHEME:
        raise _wrong(shown, f"what is reached is {SCHEME}://, not {parts.scheme or 'a bare name'}")
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


def url_problems(url: str) -> Iterator[str]:
    """Why a text is no device's URL, for a record that has one."""
    try:
        parse_address(url)
    except HostError as error:
        yield str(error)


def scheme_of(url: str) -> str:
    """What tells how a machine is reached: "local", "ssh"."""
    return url.partition("://")[0]


def name_with_host(bundle: str, host: str) -> str:
    """A file's name that tells of a bundle on a machine, without its suffix: BUNDLE@HOST.

    Of the machine's name, what a file system might not bear is "_"; so is "@", and the last one
    stands between the two.
    """
    return f"{bundle}@{_NOT_IN_A_FILE_NAME.sub('_', host)}"


def bundle_named_in(file_name: str) -> str:
    """The bundle in a name that `name_with_host` began; a bundle's own name may have an "@"."""
    return file_name.rpartition("@")[0]


def password_problem(url: str) -> str | None:
    """What is wrong with a URL that has, or may have, a password in it; None where it has none.

    Before the URL is written into a file, what might be one is as bad as one.
    """
    return None if without_password(url) == url else _NO_PASSWORD


def refuse_password(url: str) -> None:
    """Make sure that a URL has no password, before it is written or shown anywhere.

    Raises:
        HostError: when it has one; it is not repeated.
    """
    shown = without_password(url)
    if shown != url and "@" in shown:
        raise HostError(f"host {shown!r}: {_NO_PASSWORD}")


def _wrong(url: str, reason: str) -> HostError:
    return HostError(f"host {url!r}: {reason}; write it like {EXAMPLE} or {EXAMPLE}:2222/folder")

"""Weights that a library publishes: fetched into torch's own cache, read without running code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

from foundation.errors import CompressError, CorruptFileError, MissingFileError
from foundation.files import no_space_named

# In a file's name, as torch.hub knows it: resnet18-f37072fd.pth.
_SHA256_PREFIX = re.compile(r"-([0-9a-f]{8,})\.")
_LONGEST = 200


def fetched(url: str, name: str = "") -> Path:
    """The file behind a URL, fetched unless it is there; its place is TORCH_HOME/hub/checkpoints.

    Args:
        url: where it is published.
        name: what it is called there; the URL's own file name when empty.

    Raises:
        MissingFileError: when it is not there and cannot be fetched.
        NoSpaceError: when the disk is full.
    """
    import torch  # noqa: PLC0415 - that a library is known by name needs none

    file = Path(torch.hub.get_dir()) / "checkpoints" / (name or Path(urlparse(url).path).name)
    if file.is_file():
        return file
    digest = _SHA256_PREFIX.search(file.name)
    try:
        with no_space_named(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(
                url, str(file), digest and digest[1], progress=sys.stderr.isatty()
            )
    except CompressError:
        raise
    except Exception as error:  # no network, a proxy's answer, a checksum that differs
        raise MissingFileError(
            f"{file}: not there, and fetching {url} failed ({_in_short(error)}); "
            "fetch it elsewhere and put it there"
        ) from error
    return file


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Let a library read a file, in which no code is allowed to run.

    Raises:
        CorruptFileError: when it cannot.
    """
    switch = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # for libraries do not all ask torch.load for it
    before = os.environ.get(switch)
    os.environ[switch] = "1"
    try:
        yield
    except Exception as error:  # what unpicklers and libraries raise is anyone's guess
        raise CorruptFileError(
            f"{file}: not the weights that it should be ({_in_short(error)}); "
            "delete it to fetch it again"
        ) from error
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before


def _in_short(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

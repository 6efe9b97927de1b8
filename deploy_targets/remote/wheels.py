"""Wheels of a runtime and numpy for a device, fetched here by pip, or taken from a folder."""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy_targets.remote.session import Device
from foundation.errors import HostError, MissingFileError

logger = logging.getLogger(__name__)

# Oldest glibc of any wheel in use; pip wants each of the tags by name.
_OLDEST_GLIBC = 17
# What the runtimes and numpy are built for.
_USUAL = "manylinux_2_28"
_ELSEWHERE = (
    "check the network, or fetch them elsewhere with `pip download` and name their folder with "
    "--wheels"
)


def fetch_wheels(
    device: Device, pins: Mapping[str, str], into: Path, wheels: Path | None = None
) -> dict[str, Path]:
    """Have a wheel of each package that runs on a device.

    Args:
        device: for its architecture, C library and Python.
        pins: versions by package: {"numpy": "==2.1.0"}.
        into: an empty folder for what is fetched.
        wheels: a folder of wheels at hand, so that nothing is fetched; None asks pip's index.

    Returns:
        The wheels, by their file names.

    Raises:
        MissingFileError: when `wheels` is no folder.
        HostError: when there is no such wheel, or no network.
    """
    if wheels is not None and not wheels.is_dir():
        raise MissingFileError(f"{wheels}: no such folder of wheels")
    requirements = [f"{package}{version}" for package, version in pins.items()]
    version = device.python.split(".")
    abi = f"cp{version[0]}{version[1]}"
    platforms = [word for name in platform_tags(device) for word in ("--platform", name)]
    source = [] if wheels is None else ["--no-index", f"--find-links={wheels}"]
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--implementation=cp",
        f"--python-version={version[0]}.{version[1]}", f"--abi={abi}", "--abi=abi3", "--abi=none",
        *platforms, *source, f"--dest={into}", *requirements,
    ]  # fmt: skip
    environment = dict(os.environ)
    if wheels is not None:
        # Of the index that pip's own settings name, as of any other.
        environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_INDEX": "1"}
    logger.info("starting %s", shlex.join(command))
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    logger.debug("%s ended with %d: %s", "pip", result.returncode, result.stderr)
    if result.returncode:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if "ERROR" in line), (lines or [""])[-1])
        where = f"in {wheels}" if wheels else "to be had here"
        raise HostError(
            f"no wheels of {' and '.join(requirements)} for {device.arch}, {device.libc}, Python "
            f"{device.python} {where} ({reason.removeprefix('ERROR: ')[:200]}); "
            + (_how_to_fetch(device, requirements, wheels) if wheels else _ELSEWHERE)
        )
    return {path.name: path for path in sorted(into.glob("*.whl"))}


def _how_to_fetch(device: Device, requirements: Sequence[str], wheels: Path) -> str:
    """The command for a machine with a network."""
    tags, usual = platform_tags(device), f"{_USUAL}_{device.arch}"
    version = ".".join(device.python.split(".")[:2])
    return (
        "fetch them with `pip download --no-deps --only-binary=:all: --python-version "
        f"{version} --platform {usual if usual in tags else tags[0]} --dest {wheels} "
        f"{' '.join(requirements)}`"
    )


def platform_tags(device: Device) -> list[str]:
    """The wheel platforms that run on a device, newest first.

    Raises:
        HostError: when no runtime has wheels for it: a 32-bit system, or one without glibc.
    """
    if device.bits != 64:
        raise HostError(
            f"its system is one of {device.bits} bits, for which runtimes have no wheels; install "
            "a 64-bit one (Raspberry Pi OS comes in both)"
        )
    glibc = re.fullmatch(r"glibc 2\.(\d{1,3})", device.libc)
    if not glibc:
        raise HostError(
            f"its C library is {device.libc or 'not glibc'}, but runtimes have wheels for glibc "
            "alone; use a system such as Debian, Ubuntu or Raspberry Pi OS"
        )
    newest = int(glibc[1])
    tags = [f"manylinux_2_{minor}_{device.arch}" for minor in range(newest, _OLDEST_GLIBC - 1, -1)]
    return [*tags, f"manylinux2014_{device.arch}", f"linux_{device.arch}"]

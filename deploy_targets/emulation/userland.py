"""A Debian arm64 userland and the runtimes' aarch64 wheels, fetched once and kept in a cache.

No root is needed: packages are downloaded by an apt with a configuration of its own and
unpacked, never installed. Each folder appears whole or not at all, so a build that was cut
short is simply begun again, with what was downloaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from deploy_targets.emulation.processors import Processor
from foundation.errors import HostError
from foundation.files import no_space_named

logger = logging.getLogger(__name__)

Say = Callable[[str], None]

CACHE_VARIABLE = "COMPRESS_CACHE"
MIRROR_VARIABLE = "COMPRESS_DEBIAN_MIRROR"
PYTHON = "3.11"
_ABI = f"cp{PYTHON.replace('.', '')}"
_RELEASE = "bookworm"
# A mirror that this machine fetches one of these from has the others too.
_DEBIAN = {"bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable"}
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FORGOTTEN_S = 24 * 3600
_PACKAGES = (
    "libc6", "libgcc-s1", "libstdc++6", "python3-minimal", f"python{PYTHON}-minimal",
    f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "zlib1g", "libexpat1", "libffi8",
    "libssl3", "libbz2-1.0", "liblzma5", "libuuid1", "libsqlite3-0",
)  # fmt: skip
# All that run on that release's C library, 2.36; pip takes none that is not named.
_PLATFORMS = (
    *(f"manylinux_2_{minor}_aarch64" for minor in range(36, 16, -1)),
    "manylinux2014_aarch64",
)


def cache_folder() -> Path:
    """Where what was fetched is kept: COMPRESS_CACHE, or the user's cache folder."""
    override, home = os.environ.get(CACHE_VARIABLE), os.environ.get("XDG_CACHE_HOME")
    if override:
        return Path(override).resolve() / "arm64"
    return (Path(home) if home else Path.home() / ".cache") / "compress" / "arm64"


def find_qemu() -> str:
    """QEMU's user emulator for ARM64.

    Raises:
        HostError: when there is none.
    """
    for name in ("qemu-aarch64-static", "qemu-aarch64"):
        if path := shutil.which(name):
            return path
    raise HostError(
        "emulating ARM64 needs qemu-aarch64, which is not here; install it (Debian and Ubuntu: "
        "`apt-get install qemu-user-static`)"
    )


def tree_of(processor: Processor, cache: Path, say: Say) -> Path:
    """The root of a file system with Python, on a machine with that processor.

    Raises:
        HostError: when it cannot be fetched.
    """
    base = _userland(cache, say)
    tree = cache / f"{base.name}-{processor.model}"
    with _made_once(tree) as scratch:
        if scratch:
            for entry in base.iterdir():
                (scratch / entry.name).symlink_to(Path("..") / base.name / entry.name)
            processor.describe(scratch)
    return tree


def site_of(package: str, version: str, cache: Path, say: Say, extended: str | None = None) -> Path:
    """A folder with a runtime's aarch64 wheel and what it needs, numpy among it.

    Args:
        extended: what the wheel is an extension of, with its release: "torch==2.15.0". What the
            wheel asks for beside that is the exporter's, and is left out.

    Raises:
        HostError: when it cannot be fetched.
    """
    own = f"{package}=={version}"
    beside = f"-{extended.replace('==', '-')}" if extended else ""
    site = cache / f"{package}-{version.replace('*', 'x')}{beside}-{_ABI}"
    with _made_once(site) as scratch:
        if scratch and extended:
            say(f"fetching {package} {version} and {extended} for aarch64, once (gigabytes)")
            _install(extended, scratch, "numpy")
            _install(own, scratch, "--no-deps")
        elif scratch:
            say(f"fetching {package} {version} for aarch64, once")
            _install(own, scratch)
    return site


def _install(release: str, folder: Path, *beside: str) -> None:
    """Unpack the aarch64 wheel of a release into a folder; `beside`: what else pip is told."""
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    _run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-compile",
            "--disable-pip-version-check", "--only-binary=:all:", "--implementation=cp",
            f"--python-version={PYTHON}", f"--abi={_ABI}", *platforms, f"--target={folder}",
            *beside, release,
        ],
        f"cannot fetch the aarch64 wheel of {release.replace('==', ' ')}",
    )  # fmt: skip


def _userland(cache: Path, say: Say) -> Path:
    digest = hashlib.sha256(" ".join(_PACKAGES).encode()).hexdigest()[:8]
    tree = cache / f"debian-{_RELEASE}-{digest}"
    with _made_once(tree) as scratch:
        if scratch:
            say(f"fetching a Debian {_RELEASE} userland for arm64 (about 20 MB), once")
            for package in _download(cache):
                _run(["dpkg-deb", "-x", str(package), str(scratch)], f"cannot unpack {package}")
    return tree


def _download(cache: Path) -> list[Path]:
    """The packages' files; those that are there and right are not fetched again."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise HostError(
                f"emulating ARM64 needs {tool} to fetch a Debian userland; build it on a Debian "
                f"or Ubuntu machine and bring its cache folder here ({CACHE_VARIABLE})"
            )
    if not Path(_KEYRING).is_file():
        raise HostError(
            f"emulating ARM64 needs Debian's keys ({_KEYRING}) to check the userland; install "
            "debian-archive-keyring"
        )
    debs = cache / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "APT_CONFIG": str(_apt_config(cache))}
    mirror = _mirror()
    _run(["apt-get", "update", "-qq"], f"cannot reach {mirror}", environment=environment)
    failure = f"cannot download Debian's arm64 packages from {mirror}"
    _run(["apt-get", "download", "-qq", *_PACKAGES], failure, folder=debs, environment=environment)
    return [_newest(debs, name) for name in _PACKAGES]


def _newest(debs: Path, package: str) -> Path:
    return max(debs.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)


def _apt_config(cache: Path) -> Path:
    """An apt of our own: another architecture, its own lists, and nothing of this system's."""
    apt = cache / "apt"
    for name in ("state/lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "state/status").touch()
    source = f"deb [signed-by={_KEYRING}] {_mirror()} {_RELEASE} main\n"
    (apt / "sources.list").write_text(source)
    settings = {
        "APT::Architecture": "arm64",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "state/status",
        "Dir::Cache": apt / "cache",
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
    }
    lines = [f'{key} "{value}";\n' for key, value in settings.items()]
    (apt / "apt.conf").write_text("".join([*lines, 'APT::Architectures { "arm64"; };\n']))
    return apt / "apt.conf"


def _mirror() -> str:
    """The Debian mirror that was asked for, or else this machine's own."""
    if override := os.environ.get(MIRROR_VARIABLE):
        return override
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in listed.stdout.splitlines():
        release, _, address = line.partition(" ")
        if release in _DEBIAN:
            return address
    raise HostError(
        "emulating ARM64 needs a Debian mirror, and this machine's apt has none; name one in "
        f"{MIRROR_VARIABLE}"
    )


@contextlib.contextmanager
def _made_once(folder: Path) -> Iterator[Path | None]:
    """A scratch folder that becomes `folder` when all went well; None where that is there."""
    if folder.is_dir():
        yield None
        return
    with no_space_named(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            scratch.chmod(0o755)
            yield scratch
            # Another process may have been as fast: what it made is the same.
            with contextlib.suppress(FileExistsError, OSError):
                scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if not folder.is_dir():
        raise HostError(f"{folder}: cannot be made; check the rights of its folder")


def _sweep(folder: Path) -> None:
    """Take away what a build that was killed has left; one that still runs is younger."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        if time.time() - left.stat().st_mtime > _FORGOTTEN_S:
            shutil.rmtree(left, ignore_errors=True)


def _run(
    command: Sequence[str],
    failure: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command to its end, quietly; its last words are the reason when it fails."""
    logger.info("starting %s", shlex.join(command))
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    logger.debug("%s ended with %d: %s", command[0], result.returncode, result.stderr)
    if result.returncode:
        lines = [
            line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()
        ]
        reason = lines[-1] if lines else f"exit code {result.returncode}"
        raise HostError(f"{failure} ({reason}); check the network and run the same command again")

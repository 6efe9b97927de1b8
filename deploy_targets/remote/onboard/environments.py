"""A virtual environment with one runtime, made on the device: by its own pip or from wheels."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from deploy_targets.remote.onboard.refusals import HOST, NO_SPACE, RefusalError, last_line

_IMPORT_SECONDS = 120
_PIP_SECONDS = 1200


def make_environment(folder: Path) -> Path:
    """A virtual environment without pip; where Debian left `venv` out, made by hand."""
    try:
        import venv  # noqa: PLC0415 - not everywhere

        venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    except ImportError:
        (folder / "bin").mkdir(parents=True)
        for name in ("python", "python3"):
            (folder / "bin" / name).symlink_to(executable())
        home = Path(executable()).parent
        (folder / "pyvenv.cfg").write_text(
            f"home = {home}\ninclude-system-site-packages = false\n"
            f"version = {platform.python_version()}\n"
        )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    site.mkdir(parents=True, exist_ok=True)
    return site


def install_by_pip(site: Path, pins: dict[str, str], patience: float) -> None:
    """Let this machine's own pip fetch the packages."""
    requirements = [f"{name}{version}" for name, version in pins.items()]
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--retries=1", f"--timeout={patience:g}",
        f"--target={site}", *requirements,
    ]  # fmt: skip
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PIP_SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise RefusalError(f"its pip did not end within {_PIP_SECONDS} s") from error
    if result.returncode:
        full = "No space left" in result.stderr
        raise RefusalError(f"its pip: {last_line(result.stderr)}", NO_SPACE if full else HOST)


def unpack(wheel: Path, site: Path) -> None:
    """Lay a wheel out as pip does, without its scripts."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for part in site.glob("*.data"):
        for kind in ("purelib", "platlib"):
            if (part / kind).is_dir():
                shutil.copytree(part / kind, site, dirs_exist_ok=True)
        shutil.rmtree(part)


def unpacked_bytes(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def imported_versions(python: Path, modules: list[str]) -> dict[str, str]:
    """Versions of the modules, each imported once, so that it is compiled too."""
    code = f"import json; {'; '.join(f'import {name}' for name in modules)}; print(json.dumps(" + (
        "{" + ", ".join(f"'{name}': str({name}.__version__)" for name in modules) + "}))"
    )
    result = subprocess.run(
        [str(python), "-P", "-c", code],
        env={**os.environ, **quiet(python.parents[3])},
        capture_output=True, text=True, check=False, timeout=_IMPORT_SECONDS,
    )  # fmt: skip
    if result.returncode:
        hint = "; is it for another processor or system?" if result.returncode < 0 else ""
        raise RefusalError(
            f"cannot import {' and '.join(modules)}: {last_line(result.stderr)}{hint}"
        )
    versions: dict[str, str] = json.loads(result.stdout.splitlines()[-1])
    return versions


def quiet(folder: Path) -> dict[str, str]:
    """What keeps a runtime from writing into the user's home, and from telling its makers."""
    return {"XDG_CACHE_HOME": str(folder / "cache"), "ORT_DISABLE_TELEMETRY": "1"}


def executable() -> str:
    return str(getattr(sys, "_base_executable", None) or sys.executable)

"""The program that looks after our folder on a device. It is sent over the link and run from there,
so it stands on Python's standard library alone.

It is asked in JSON lines on standard input and answers each with one on standard output. A request
with `bytes` is followed by as many of content. It ends with its input, and so with the link.

    FOLDER/edge-compress.json   that the folder is ours; without it nothing is taken away
    FOLDER/code/SHA/            the device side of this program
    FOLDER/envs/RUNTIME/        a virtual environment: numpy and one runtime
    FOLDER/bundles/SHA/         bundles, evaluation/SHA/ images: brought once, a bounded cache
    FOLDER/cache/               what the runtimes themselves keep
    FOLDER/partial/             what is on its way; it goes on from there
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from deploy_targets.remote.onboard.environments import (
    executable,
    imported_versions,
    install_by_pip,
    make_environment,
    quiet,
    unpack,
    unpacked_bytes,
)
from deploy_targets.remote.onboard.refusals import HOST, NO_SPACE, RefusalError, last_line

Request = dict[str, Any]
Answer = dict[str, Any]

MARKER = "edge-compress.json"
CACHES = ("bundles", "evaluation")
CACHE_BYTES = 2 << 30
_MARGIN_BYTES = 8 << 20
_CHUNK = 1 << 18
# One that was used so lately may be in use now.
_IN_USE_SECONDS = 6 * 3600
_RUN_SECONDS = 120
_ENV_KEYS = {"pins", "python", "from", "versions", "via"}


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    agent = Agent(requests)
    for line in iter(requests.readline, b""):
        request = json.loads(line)
        agent.left = request.get("bytes", 0)
        try:
            answer = agent.answer(request)
        except RefusalError as refusal:
            answer = {"kind": "error", "exit_code": refusal.code, "message": str(refusal)}
        except OSError as error:
            answer = _os_error(error, agent)
        agent.drain()
        answers.write(json.dumps({"kind": "done", **answer}).encode() + b"\n")
        answers.flush()


class Agent:
    """One folder and what can be done with it."""

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        self._lock: int | None = None
        self.left = 0
        self.folder = Path()

    def answer(self, request: Request) -> Answer:
        """Do what is asked, and say what came of it."""
        work: dict[str, Callable[..., Answer]] = {
            "open": self.open,
            "begin": self.begin,
            "put": self.put,
            "commit": self.commit,
            "install": self.install,
            "run": self.run,
            "try": self.try_runtime,
            "size": self.size,
            "clean": self.clean,
        }
        arguments = {key: value for key, value in request.items() if key not in {"op", "bytes"}}
        return work[request["op"]](**arguments)

    def drain(self) -> None:
        """Read what is left of a content that was not taken."""
        while self.left:
            self._read_chunk()

    def open(self, folder: str | None) -> Answer:
        """Say what the machine is and what is there; nothing is made."""
        home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        self.folder = Path(folder) if folder else Path(home) / "edge-compress"
        if self.folder.is_dir() and any(self.folder.iterdir()) and not self._marker.is_file():
            raise RefusalError(
                f"{self.folder}: is there and not ours; name another folder in the URL"
            )
        self._check_links()
        system, libc = platform.libc_ver()
        return {
            "folder": str(self.folder),
            "machine": machine(),
            "arch": {"AMD64": "x86_64", "arm64": "aarch64"}.get(
                platform.machine(), platform.machine()
            ),
            "libc": f"{system} {libc}".strip(),
            "python": platform.python_version(),
            "executable": executable(),
            "bits": 64 if sys.maxsize > 1 << 32 else 32,
            "has_pip": importlib.util.find_spec("pip") is not None,
            "free_mb": self._free() / (1 << 20),
            "clock": time.time(),
            "envs": self._envs(),
            "code": _entry_names(self.folder / "code"),
            "bundles": _entry_names(self.folder / "bundles"),
        }

    def begin(self, tree: str, files: dict[str, tuple[str, int]]) -> Answer:
        """Make ready for a folder of files, named by (SHA-256, bytes): say which are wanted."""
        final, partial = self.folder / tree, self._partial(tree)
        self._take_lock()
        if final.is_dir() and all(
            _has_digest(final / name, digest) for name, (digest, _) in files.items()
        ):
            os.utime(final)
            return {"wanted": [], "there": True}
        # Changed since it was brought: by a disk that fails, or by somebody.
        shutil.rmtree(final, ignore_errors=True)
        missing = [
            name for name, (digest, _) in files.items() if not _has_digest(partial / name, digest)
        ]
        self._make_room(sum(files[name][1] for name in missing), keep=tree)
        return {"wanted": missing, "there": False}

    def put(self, tree: str, name: str, sha256: str) -> Answer:
        """Write a file of that folder; it appears whole or not at all."""
        path = self._partial(tree) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        digest = hashlib.sha256()
        try:
            with temporary.open("wb") as file:
                while self.left:
                    chunk = self._read_chunk()
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            if digest.hexdigest() != sha256:
                raise RefusalError(f"{path}: did not arrive as it was sent; try again")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return {}

    def commit(self, tree: str, files: dict[str, tuple[str, int]]) -> Answer:
        """All files are there: let the folder appear."""
        final, partial = self.folder / tree, self._partial(tree)
        for name, (digest, _) in files.items():
            if not _has_digest(partial / name, digest):
                raise RefusalError(f"{partial / name}: is not as it was sent; try again")
        final.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(final)
        group = tree.partition("/")[0]
        if group in CACHES:
            self._evict(sum(map(_size, self._cached())) - CACHE_BYTES, keep=tree)
        else:
            # Of code only the newest is used; a process that runs has loaded what it needs.
            for entry in final.parent.iterdir():
                if entry != final and not _used_lately(entry):
                    shutil.rmtree(entry, ignore_errors=True)
        return {}

    def install(
        self, runtime: str, module: str, pins: dict[str, str], tree: str | None, patience: float
    ) -> Answer:
        """Make the environment of a runtime, from wheels in `tree` or by this machine's pip.

        One that is there and has just these versions stays.
        """
        self._take_lock()
        env, scratch = self.folder / "envs" / runtime, self.folder / "partial" / f"env-{runtime}"
        identity = {"pins": pins, "python": platform.python_version(), "from": executable()}
        record = self._envs().get(runtime)
        if record and all(record[key] == value for key, value in identity.items()):
            return {"made": False, **record}
        shutil.rmtree(scratch, ignore_errors=True)
        site = make_environment(scratch)
        if tree is None:
            install_by_pip(site, pins, patience)
        else:
            wheels = sorted((self.folder / tree).glob("*.whl"))
            self._make_room(sum(map(unpacked_bytes, wheels)), keep=tree)
            for wheel in wheels:
                unpack(wheel, site)
        versions = imported_versions(scratch / "bin" / "python", ["numpy", module])
        record = {**identity, "versions": versions, "via": "pip" if tree is None else "wheels"}
        (scratch / "env.json").write_text(json.dumps(record))
        env.parent.mkdir(parents=True, exist_ok=True)
        old = self.folder / "partial" / f"old-{runtime}"
        shutil.rmtree(old, ignore_errors=True)
        if env.exists():
            env.rename(old)
        scratch.rename(env)
        shutil.rmtree(old, ignore_errors=True)
        if tree is not None:
            shutil.rmtree(self.folder / tree, ignore_errors=True)
        return {"made": True, **record}

    def run(self, tree: str, words: list[str]) -> Answer:
        """What the system's Python prints, with our code at hand."""
        result = subprocess.run(
            [sys.executable, "-P", *words],
            env={**os.environ, "PYTHONPATH": str(self.folder / tree)},
            capture_output=True, text=True, check=False, timeout=_RUN_SECONDS,
        )  # fmt: skip
        if result.returncode:
            raise RefusalError(f"asking it failed: {last_line(result.stderr)}")
        return {"output": result.stdout}

    def try_runtime(self, package: str, runtime: str, tree: str) -> Answer:
        """How one inference of a runtime ends, in the environment that has it."""
        python = self.folder / "envs" / package / "bin" / "python"
        try:
            result = subprocess.run(
                [str(python), "-P", "-m", "deploy_targets.device.trying", runtime],
                env={**os.environ, "PYTHONPATH": str(self.folder / tree), **quiet(self.folder)},
                capture_output=True, text=True, check=False, timeout=_RUN_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"code": None, "said": f"it did not end within {_RUN_SECONDS} s"}
        return {"code": result.returncode, "said": last_line(result.stderr)}

    def size(self) -> Answer:
        """How much lies there."""
        return {"used_mb": _size(self.folder) / (1 << 20)}

    def clean(self, *, cache_only: bool) -> Answer:
        """Take away what was brought, or all that was ever made."""
        if not self._marker.is_file():
            return {"freed_mb": 0.0, "folder": str(self.folder)}
        self._take_lock()
        before = _size(self.folder)
        names = [*CACHES, "cache", "partial", *([] if cache_only else ["code", "envs", "wheels"])]
        for name in names:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        after = _size(self.folder)
        if not cache_only:
            for name in ("lock", MARKER):
                (self.folder / name).unlink(missing_ok=True)
            # Whatever else lies there is not ours.
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            after = _size(self.folder)
        return {"freed_mb": (before - after) / (1 << 20), "folder": str(self.folder)}

    @property
    def _marker(self) -> Path:
        return self.folder / MARKER

    def _check_links(self) -> None:
        """Make sure that no link leads out of the folder: what lies behind it is not ours to write
        or to take away. A virtual environment is links in part; nothing of ours follows those."""
        root = self.folder.resolve()
        environments = [*self.folder.glob("envs/*")]
        environments += [*self.folder.glob("partial/env-*"), *self.folder.glob("partial/old-*")]
        for at, folders, files in os.walk(self.folder):
            if Path(at) in environments:
                folders.clear()
                continue
            for path in (Path(at, name) for name in (*folders, *files)):
                if path.is_symlink() and not _leads_into(path, root):
                    raise RefusalError(
                        f"{path}: is a link that leads out of our folder, where nothing is "
                        "written; take it away on the device"
                    )

    def _partial(self, tree: str) -> Path:
        return self.folder / "partial" / tree.replace("/", "-")

    def _take_lock(self) -> None:
        """Of several who bring something here, one after the other; the lock ends with us."""
        if self._lock is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._marker.is_file():
            self._marker.write_text(json.dumps({"what": "made by compress device setup"}) + "\n")
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def _read_chunk(self) -> bytes:
        chunk = self._content.read(min(self.left, _CHUNK))
        if not chunk:
            raise SystemExit(0)
        self.left -= len(chunk)
        return chunk

    def _envs(self) -> dict[str, Any]:
        environments = {}
        for path in sorted((self.folder / "envs").glob("*/env.json")):
            # Without the Python that it was made of, after an upgrade of the system, it is none.
            if (path.parent / "bin" / "python").exists():
                with contextlib.suppress(OSError, ValueError):
                    record = json.loads(path.read_text())
                    if isinstance(record, dict) and set(record) == _ENV_KEYS:
                        environments[path.parent.name] = record
        return environments

    def _free(self) -> int:
        """Of the disk that the folder is on, or will be."""
        nearest = next(path for path in (self.folder, *self.folder.parents) if path.is_dir())
        return shutil.disk_usage(nearest).free

    def _make_room(self, size: int, keep: str) -> None:
        lacking = size + _MARGIN_BYTES - self._free()
        if size and lacking > 0:
            self._evict(lacking, keep)
        if size and size + _MARGIN_BYTES > self._free():
            raise RefusalError(
                f"{self.folder}: no space left on the device: {_mib(size + _MARGIN_BYTES)} are "
                f"needed and {_mib(self._free())} free; free some, or take away what was brought "
                "before with `compress device clean --cache`",
                NO_SPACE,
            )

    def _evict(self, size: int, keep: str) -> None:
        """Free that many bytes of the caches, what was used longest ago first."""
        by_age = sorted(self._cached(), key=lambda path: path.stat().st_mtime)
        for path in by_age:
            if size <= 0:
                return
            if path != self.folder / keep and not _used_lately(path):
                size -= _size(path)
                shutil.rmtree(path, ignore_errors=True)

    def _cached(self) -> Iterator[Path]:
        for group in CACHES:
            yield from (self.folder / group).glob("*")


def _os_error(error: OSError, agent: Agent) -> Answer:
    path = error.filename or agent.folder
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        message = f"{path}: no space left on the device; free some there and run this again"
        return {"kind": "error", "exit_code": NO_SPACE, "message": message}
    words = f"{path}: {error.strerror or error}; check the folder's rights on the device"
    return {"kind": "error", "exit_code": HOST, "message": words}


def machine() -> str:
    """The same for every way to reach the same machine, and gone with its next start."""
    for path in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id"):
        with contextlib.suppress(OSError):
            return Path(path).read_text().strip()
    return platform.node()


def _has_digest(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:
        return False


def _leads_into(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # in a ring
        return False


def _used_lately(path: Path) -> bool:
    return time.time() - path.stat().st_mtime < _IN_USE_SECONDS


def _entry_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(entry.lstat().st_size for entry in path.rglob("*") if not entry.is_dir())


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"

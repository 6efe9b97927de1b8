from __future__ import annotations

import errno
import hashlib
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import CorruptFileError, MissingFileError, NoSpaceError
from foundation.files import (
    check_inside,
    check_sha256,
    clear_leftovers,
    no_space_named,
    read_json,
    replacing,
    sha256_of,
    write_bytes,
    write_json,
    write_text,
)

WRITE_MUCH = """
import sys
from pathlib import Path
from foundation.errors import NoSpaceError
from foundation.files import write_bytes

path = Path(sys.argv[1])
write_bytes(path, b"earlier")
try:
    write_bytes(path, bytes(1_000_000))
except NoSpaceError as error:
    assert str(path) in str(error), error
    assert path.read_bytes() == b"earlier"
    assert list(path.parent.iterdir()) == [path], "something half-written was left"
    sys.exit(NoSpaceError.exit_code)
"""
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def test_a_file_and_its_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"
    assert list(path.parent.iterdir()) == [path]


def test_a_text_is_written_in_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "τ² · ½\n")
    assert (tmp_path / "file").read_bytes() == "τ² · ½\n".encode()


def test_a_body_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_in_place_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary.parent == path.parent, "a rename between file systems is not one step"
    assert path.read_bytes() == b"new"


def test_who_reads_the_old_file_reads_it_to_its_end(tmp_path: Path) -> None:
    """The new file takes the name of the old one and does not overwrite its content."""
    write_bytes(tmp_path / "file", b"old")
    with (tmp_path / "file").open("rb") as old:
        write_bytes(tmp_path / "file", b"new")
        assert old.read() == b"old"


def test_a_process_that_is_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from foundation.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half of the n'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    assert path.read_bytes() == b"old"


def test_a_file_is_as_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "file", b"")
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))

    command = [sys.executable, "-c", WRITE_MUCH, tmp_path / "file"]
    ended = subprocess.run(command, preexec_fn=limited, check=False)
    assert ended.returncode == NoSpaceError.exit_code


def test_a_disk_that_is_really_full_is_told_and_the_old_file_stays(tmp_path: Path) -> None:
    """On a file system of 64 kB that lives as long as the process."""
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp_path} && "
    if (
        not shutil.which("unshare")
        or subprocess.run(
            [*NAMESPACE, "sh", "-c", f"{mount}true"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no file system of our own can be mounted here")
    run = f'{mount}exec "$0" "$@"'
    command = [*NAMESPACE, "sh", "-c", run, sys.executable, "-c", WRITE_MUCH, tmp_path / "file"]
    assert subprocess.run(command, check=False).returncode == NoSpaceError.exit_code


def test_other_troubles_of_the_system_pass_as_they_are() -> None:
    with pytest.raises(PermissionError), no_space_named(Path("file")):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.parametrize("name", ["a.json", "sub/a.json", "sub/.a.json.journal", ".lock"])
@pytest.mark.parametrize("there", ["a file", "a folder", "nothing", "itself"])
def test_a_link_that_leads_out_of_a_folder_is_told(name: str, there: str, tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "run"
    link = folder / name
    if there == "a file":
        outside.write_text("mine")
    elif there == "a folder":
        outside.mkdir()
    link.parent.mkdir(parents=True)
    check_inside(folder)
    link.symlink_to(link if there == "itself" else outside)
    with pytest.raises(CorruptFileError, match=rf"{link}: is a link that leads out of {folder}"):
        check_inside(folder)


def test_links_that_lead_nowhere_else_are_fine(tmp_path: Path) -> None:
    """One to the folder itself, those within it, and what hides at its top."""
    folder = tmp_path / "disk/run"
    (folder / "sub/inner").mkdir(parents=True)
    (folder / "sub/inner/up").symlink_to("../../file")
    (folder / "file").write_text("x")
    (folder / ".venv").mkdir()
    (folder / ".venv/python").symlink_to(sys.executable)
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    for path in (folder, tmp_path / "runs/run", tmp_path / "not there"):
        check_inside(path)


def test_what_a_killed_process_left_goes_and_nothing_else(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from foundation.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "data/test.npz"], check=False)
    (left,) = (tmp_path / "data").iterdir()
    others = [".notes.tmp", "test.npz", ".test.npz.tmp", ".x.ABCDEFGH.tmp", "x.abcdefgh.tmp"]
    for name in others:
        (tmp_path / "data" / name).write_text("mine")
    (tmp_path / "data/.a.abcdefgh.tmp").symlink_to(tmp_path / "data/test.npz")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/.b.abcdefgh.tmp").write_text("mine")
    clear_leftovers(tmp_path)
    assert not left.exists()
    assert {path.name for path in (tmp_path / "data").iterdir()} == {*others, ".a.abcdefgh.tmp"}
    assert (tmp_path / ".git/.b.abcdefgh.tmp").exists()


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    content = {"name": "τ", "values": [1, 2.5, None, True]}
    write_json(tmp_path / "file.json", content)
    assert read_json(tmp_path / "file.json") == content
    assert (tmp_path / "file.json").read_text().endswith("}\n")


def test_what_json_does_not_know_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"loss": math.nan})
    assert read_json(tmp_path / "file.json") == 1


def test_a_json_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"file\.json: no such file"):
        read_json(tmp_path / "file.json")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff\xfe", b"{} {}"])
def test_a_file_that_is_not_json_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"file\.json: not valid JSON") as caught:
        read_json(tmp_path / "file.json")
    assert "\n" not in str(caught.value)


def test_the_checksum_is_the_files_sha_256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "file") == digest == hashlib.sha256(b"abc").hexdigest()
    check_sha256(tmp_path / "file", digest)


def test_a_changed_file_is_told_with_both_checksums(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abd")
    digest = hashlib.sha256(b"abc").hexdigest()
    found = hashlib.sha256(b"abd").hexdigest()
    with pytest.raises(CorruptFileError, match=f"{digest[:12]}….*{found[:12]}…"):
        check_sha256(tmp_path / "file", digest)


def test_a_recorded_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="file: no such file, though it is recorded"):
        check_sha256(tmp_path / "file", "0" * 64)

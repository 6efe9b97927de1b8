"""Setting up, checking and clearing a device, over a real SSH server."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from loopback_sshd import ssh_config

from deploy_targets.hosts.host_names import parse_address
from deploy_targets.remote.checking import check
from deploy_targets.remote.provisioning import clean, packages_for, set_up
from deploy_targets.remote.register import known_devices
from deploy_targets.remote.session import _with_a_python, open_session
from deploy_targets.remote.sources import device_sources
from deploy_targets.remote.wheels import fetch_wheels, platform_tags
from deploy_targets.targets import load_target
from foundation.errors import HostError, NoSpaceError, UnknownNameError, UsageError
from foundation.files import sha256_of
from foundation.manifest import RuntimeRange

ORT = packages_for(None, ["onnxruntime"])


def silent(_line):
    pass


def state_of(folder):
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def found_in(checked):
    return {one.what: one for one in checked.findings}


def test_a_device_that_is_set_up_has_the_pinned_runtime_in_an_environment_of_its_own(device):
    python = device.ours / "envs/onnxruntime/bin/python"
    code = "import numpy, onnxruntime, sys; print(onnxruntime.__version__, sys.prefix)"
    said = subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, check=True)
    version, prefix = said.stdout.split()
    assert f"=={version}" == ORT["onnxruntime"]
    assert Path(prefix) == device.ours / "envs/onnxruntime"
    assert not list(device.ours.glob("wheels/*"))


def test_a_second_set_up_sends_and_changes_nothing(device):
    lines = []
    before = state_of(device.ours / "envs")
    done = set_up(device.url, ORT, lines.append)
    assert done.made == []
    assert not any("sending" in line for line in lines)
    assert state_of(device.ours / "envs") == before
    (known,) = known_devices()
    assert (known.url, known.folder) == (device.url, str(device.ours))
    assert f"=={known.runtimes['onnxruntime']}" == ORT["onnxruntime"]


def test_the_device_side_is_sent_again_only_when_it_changed(device, monkeypatch, tmp_path):
    tree, files = device_sources()
    changed = tmp_path / "records.py"
    changed.write_text(files["foundation/records.py"].read_text() + "# newer\n")
    with open_session(parse_address(device.url)) as session:
        lines = []
        session.bring(tree, files, lines.append)
        assert lines == []
        session.bring("code/other", {**files, "foundation/records.py": changed}, lines.append)
        assert len(lines) == 1
        assert session.ask("run", tree="code/other", words=["-m", "deploy_targets.device.facts"])[
            "output"
        ]
    shutil.rmtree(device.ours / "code/other")


def test_a_set_up_that_was_cut_goes_on_with_what_had_arrived(device, tmp_path):
    (tmp_path / "one").write_bytes(b"1" * 1000)
    (tmp_path / "two").write_bytes(b"2" * 1000)
    files = {name: tmp_path / name for name in ("one", "two")}
    with open_session(parse_address(device.url)) as session:
        listed = {name: _listed(path) for name, path in files.items()}
        assert session.ask("begin", tree="bundles/cut", files=listed)["wanted"] == ["one", "two"]
        digest, content = listed["one"][0], files["one"].read_bytes()
        session.ask("put", tree="bundles/cut", name="one", sha256=digest, content=content)
    assert not (device.ours / "bundles/cut").exists()
    with open_session(parse_address(device.url)) as session:
        assert session.ask("begin", tree="bundles/cut", files=listed)["wanted"] == ["two"]
        session.bring("bundles/cut", files)
    assert (device.ours / "bundles/cut/two").read_bytes() == b"2" * 1000


def test_what_did_not_arrive_as_it_was_sent_is_refused(device, tmp_path):
    with open_session(parse_address(device.url)) as session:
        with pytest.raises(HostError, match="did not arrive"):
            session.ask("put", tree="bundles/torn", name="x", sha256="0" * 64, content=b"xyz")
        assert session.ask("size")["used_mb"] > 0
    assert not (device.ours / "partial/bundles-torn/x").exists()


def test_a_check_says_what_is_right_and_what_is_not(device):
    found = found_in(check(device.url, [RuntimeRange("onnxruntime", "1.0")], "x86_64"))
    assert found["onnxruntime"].state == found["Python"].state == found["clock"].state == "ok"
    checked = check(device.url, [RuntimeRange("onnxruntime", "99"), RuntimeRange("openvino", "1")])
    found = found_in(checked)
    assert not checked.good
    assert (
        "onnxruntime 99 or newer is wanted; run `compress device setup"
        in found["onnxruntime"].detail
    )
    assert found["openvino"].detail.startswith("not there")
    assert found_in(check(device.url, arch="riscv64"))["processor"].state == "problem"


@pytest.fixture
def dying_runtime(device):
    """The device's ONNX Runtime, dead of an instruction that its processor does not have."""
    (there,) = device.ours.glob("envs/onnxruntime/lib/*/site-packages/onnxruntime")
    kept = there.rename(there.with_name("kept"))
    there.mkdir()
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"
    (there / "__init__.py").write_text(code)
    yield device
    shutil.rmtree(there)
    kept.rename(there)


def test_a_runtime_that_is_there_and_dies_when_it_computes_is_not_said_to_be_right(dying_runtime):
    checked = check(dying_runtime.url, [RuntimeRange("onnxruntime", "1.0")])
    assert not checked.good
    found = found_in(checked)["onnxruntime"]
    assert found.state == "problem"
    assert "does not compute here: it died of SIGILL, an instruction that this" in found.detail
    assert "--runtime onnxruntime==VERSION" in found.detail


def test_a_folder_that_is_not_ours_is_left_alone(device, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    for work in (lambda url: set_up(url, ORT, silent), clean):
        with pytest.raises(HostError, match="is there and not ours"):
            work(f"{device.url}{mine}")
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_a_full_disk_on_the_device_is_told_and_with_room_the_set_up_goes_on(
    small_disk, device, tmp_path
):
    folder, resize = small_disk
    url = f"{device.url}{folder}/ours"
    resize("9m")
    with pytest.raises(NoSpaceError, match="no space left on the device") as full:
        set_up(url, ORT, silent, from_here=True)
    assert "\n" not in str(full.value)
    assert not (folder / "ours/envs").exists()
    # A disk that fills up while something is written.
    with open_session(parse_address(url)) as session, pytest.raises(NoSpaceError):
        session.ask("put", tree="bundles/big", name="x", sha256="0" * 64, content=bytes(20 << 20))
    assert not list(folder.rglob("*.tmp"))
    resize("400m")
    assert set_up(url, ORT, silent, from_here=True).made == ["onnxruntime"]
    assert clean(url) > 50
    assert not (folder / "ours").exists()
    assert known_devices() == []


def test_a_clean_of_the_cache_leaves_the_environment(device, onnx_bundle):
    with open_session(parse_address(device.url)) as session:
        session.bring("bundles/one", {"model.onnx": onnx_bundle / "model.onnx"})
    assert clean(device.url, cache_only=True) > 0
    assert not (device.ours / "bundles").exists()
    assert set_up(device.url, ORT, silent).made == []


def test_what_was_used_longest_ago_leaves_a_cache_that_is_full(device, tmp_path, monkeypatch):
    (tmp_path / "new").write_bytes(b"n")
    for name, hours in (("old", 48), ("older", 72), ("lately", 1)):
        folder = device.ours / "bundles" / name
        folder.mkdir(parents=True)
        # A hole: as large as the whole cache, and no byte of the disk.
        with (folder / "model").open("wb") as file:
            file.truncate(1200 << 20)
        _age(folder, hours)
    with open_session(parse_address(device.url)) as session:
        session.bring("bundles/new", {"x": tmp_path / "new"})
    left = {path.name for path in (device.ours / "bundles").iterdir()}
    assert left == {"lately", "new"} | ({"old"} & left)
    assert "older" not in left
    clean(device.url, cache_only=True)


def test_a_wrong_host_key_is_told_with_its_file_and_nothing_is_weakened(
    device, tmp_path, monkeypatch
):
    (tmp_path / "known").write_text("")
    config = tmp_path / "config"
    config.write_text(ssh_config(device.config.parent / "user_key", tmp_path / "known"))
    monkeypatch.setenv("COMPRESS_SSH_CONFIG", str(config))
    with pytest.raises(HostError, match=r"host key is not known here; connect once with `ssh -F"):
        check(device.url)
    other = (device.config.parent / "user_key.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{device.port} {other}")
    with pytest.raises(HostError, match=r"not the one in line 1 of .*known") as refused:
        check(device.url)
    assert "ssh-keygen -R '[127.0.0.1]:" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_key_that_the_device_does_not_know_and_a_device_that_is_off_are_told(
    device, tmp_path, monkeypatch
):
    config = tmp_path / "config"
    config.write_text(ssh_config(device.folder / "host_key", device.known_hosts))
    monkeypatch.setenv("COMPRESS_SSH_CONFIG", str(config))
    with pytest.raises(HostError, match=r"does not let us in.*ssh-copy-id -p"):
        check(device.url)
    with pytest.raises(HostError, match=r"cannot be reached.*Connection refused"):
        check("ssh://127.0.0.1:1")


def test_an_alias_behind_a_jump_host_is_reached(device, monkeypatch, tmp_path):
    where = f"HostName 127.0.0.1\nPort {device.port}\n"
    config = tmp_path / "config"
    config.write_text(
        f"Host bastion\n{where}Host camera\n{where}ProxyJump bastion\nHost *\n"
        + device.config.read_text()
    )
    monkeypatch.setenv("COMPRESS_SSH_CONFIG", str(config))
    before = (device.folder / "log").read_text().count("Accepted publickey")
    link = check("ssh://camera").findings[0]
    assert (link.state, link.what) == ("ok", "link")
    # The bastion, and the device behind it.
    assert (device.folder / "log").read_text().count("Accepted publickey") == before + 2


def test_a_python_that_prints_nothing_is_no_python(device, tmp_path):
    """A login whose PATH has none: the same shell's words, without the way over the link."""
    shell = shutil.which("sh")
    done = subprocess.run(
        [shell, "-c", _with_a_python("print(1)")], env={"PATH": str(tmp_path)}, check=False
    )
    assert done.returncode == 77


def test_without_venv_the_environment_is_made_by_hand(device, tmp_path):
    """As on a Debian without python3-venv."""
    code = (
        "import sys, pathlib; sys.modules['venv'] = None; "
        "from deploy_targets.remote.onboard.environments import make_environment; "
        f"print(make_environment(pathlib.Path({str(tmp_path / 'env')!r})))"
    )
    site = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    Path(site.stdout.strip(), "found.py").write_text("")
    python = tmp_path / "env/bin/python"
    code = "import found, sys; assert sys.prefix != sys.base_prefix; print(len(sys.path))"
    subprocess.run([python, "-P", "-c", code], check=True, capture_output=True)


def test_the_devices_own_pip_is_asked_first_and_wheels_go_where_it_has_no_network(
    device, monkeypatch, tmp_path
):
    """A package that no index has: pip there fails, and so does pip here, both said so."""
    lines = []
    with pytest.raises(HostError, match=r"no wheels of numpy.*--wheels"):
        set_up(device.url, {"onnxruntime": "==0.0.1"}, lines.append)
    assert any("its pip: " in line and "sending wheels from here" in line for line in lines)
    # What was there before is as it was.
    assert set_up(device.url, ORT, silent).made == []


def test_wheels_from_a_folder_need_no_index(device, tmp_path, monkeypatch):
    with open_session(parse_address(device.url)) as session:
        described = session.device
    (tmp_path / "none").mkdir()
    with pytest.raises(HostError, match=r"in .*none"):
        fetch_wheels(described, {"numpy": ""}, tmp_path, tmp_path / "none")
    pi = replace(described, arch="aarch64", libc="glibc 2.36")
    assert platform_tags(pi)[0] == "manylinux_2_36_aarch64"
    for wrong, words in ((replace(pi, bits=32), "64-bit"), (replace(pi, libc=""), "not glibc")):
        with pytest.raises(HostError, match=words):
            platform_tags(wrong)


def test_the_runtimes_of_a_target_are_pinned_to_what_was_checked_here():
    here = ORT["onnxruntime"]
    assert packages_for(load_target("rpi4"), []) == {"onnxruntime": here}
    assert set(packages_for(load_target("x86-vnni"), [])) == {"onnxruntime", "openvino"}
    assert packages_for(None, ["onnxruntime==1.20.1"]) == {"onnxruntime": "==1.20.1"}
    with pytest.raises(UnknownNameError, match="tflite"):
        packages_for(None, ["tflite"])
    with pytest.raises(UsageError, match="runtime must be like"):
        packages_for(None, ["onnxruntime @ http://x"])


def _listed(path):
    return sha256_of(path), path.stat().st_size


def _age(path, hours):
    then = time.time() - hours * 3600
    os.utime(path, (then, then))

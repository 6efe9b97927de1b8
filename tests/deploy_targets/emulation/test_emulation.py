"""What emulation needs and says, without a network; `test_arm64.py` runs the real thing."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from deploy_targets.device.facts import collect
from deploy_targets.emulation import answers, emulate
from deploy_targets.emulation.processors import (
    CORTEX_A53,
    CORTEX_A72,
    CORTEX_A76,
    processor_for,
)
from deploy_targets.emulation.userland import cache_folder, find_qemu, site_of, tree_of
from deploy_targets.targets import load_target
from foundation.bundle import open_bundle
from foundation.errors import HostError, UsageError


@pytest.mark.parametrize(
    ("target", "processor"),
    [
        ("rpi3", CORTEX_A53), ("rpi-zero2", CORTEX_A53), ("rpi4", CORTEX_A72),
        ("rpi5", CORTEX_A76), ("rk3588", CORTEX_A76), ("jetson-orin-cpu", CORTEX_A76),
        ("arm64-generic", CORTEX_A53),
    ],
)  # fmt: skip
def test_a_target_is_emulated_by_its_own_core_or_by_one_with_its_instructions(target, processor):
    assert processor_for(load_target(target)) == processor


def test_no_target_is_emulated_by_whatever_qemu_can() -> None:
    unknown = replace(load_target("rpi5"), cpu="Cortex-A99")
    assert processor_for(unknown) == CORTEX_A76


@pytest.mark.parametrize("name", ["rpi4", "rpi5"])
def test_an_emulated_processor_describes_itself_as_the_real_one_does(name, tmp_path: Path) -> None:
    target = load_target(name)
    processor_for(target).describe(tmp_path)
    facts = collect(tmp_path)
    assert facts.cpu == target.cpu
    assert set(facts.features or []) & {"asimd", "fphp", "asimdhp", "asimddp"} == set(
        target.features
    )
    register = tmp_path / "sys/devices/system/cpu/cpu3/regs/identification/midr_el1"
    assert int(register.read_text(), 16) == processor_for(target).midr


def one_line(caught: pytest.ExceptionInfo[HostError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_qemu_is_said_in_a_line(tmp_path: Path, monkeypatch, onnx_bundle: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError) as caught:
        emulate(open_bundle(onnx_bundle), load_target("rpi4"), print)
    assert "apt-get install qemu-user-static" in one_line(caught)


def test_only_arm64_is_emulated(onnx_bundle: Path) -> None:
    with pytest.raises(UsageError, match="only aarch64 is emulated, but target n100 is x86_64"):
        emulate(open_bundle(onnx_bundle), load_target("n100"), print)


def test_an_extension_is_fetched_with_what_it_extends_and_nothing_else(tmp_path: Path, monkeypatch):
    asked = tmp_path / "asked"
    python = tmp_path / "python"
    program(python, f'echo "$@" >> {asked}')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    said: list[str] = []
    site = site_of("executorch", "1.5.1", tmp_path / "cache", said.append, "torch==2.15.0")
    assert site.name == "executorch-1.5.1-torch-2.15.0-cp311" and site.is_dir()
    assert said == ["fetching executorch 1.5.1 and torch==2.15.0 for aarch64, once (gigabytes)"]
    first, second = (line.split() for line in asked.read_text().splitlines())
    assert first[-2:] == ["numpy", "torch==2.15.0"] and "--no-deps" not in first
    assert second[-2:] == ["--no-deps", "executorch==1.5.1"]


def test_an_extension_of_what_is_not_installed_is_told_in_a_line(onnx_bundle: Path, monkeypatch):
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(answers, "version", missing)
    with pytest.raises(HostError) as caught:
        answers._extended("executorch")
    assert "is an extension of torch, which is not installed here" in one_line(caught)


def test_a_missing_apt_is_said_in_a_line_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError) as caught:
        tree_of(CORTEX_A72, tmp_path / "cache", print)
    assert "needs apt-get" in one_line(caught)
    assert list((tmp_path / "cache").iterdir()) == []


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_missing_network_is_said_in_a_line_with_the_mirror(tmp_path: Path, monkeypatch) -> None:
    tools, keyring = tmp_path / "tools", tmp_path / "keys.gpg"
    tools.mkdir()
    keyring.touch()
    program(tools / "apt-get", "echo 'E: Could not resolve host' >&2; exit 100")
    program(tools / "dpkg-deb", "exit 1")
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("COMPRESS_DEBIAN_MIRROR", "http://mirror.invalid/debian")
    monkeypatch.setattr("deploy_targets.emulation.userland._KEYRING", str(keyring))
    with pytest.raises(HostError) as caught:
        tree_of(CORTEX_A72, tmp_path / "cache", print)
    told = one_line(caught)
    assert "http://mirror.invalid/debian" in told
    assert "Could not resolve host" in told
    assert not list((tmp_path / "cache").glob("*debian-*"))


def test_a_machine_whose_apt_knows_no_debian_is_asked_for_a_mirror(
    tmp_path: Path, monkeypatch
) -> None:
    tools, keyring = tmp_path / "tools", tmp_path / "keys.gpg"
    tools.mkdir()
    keyring.touch()
    program(tools / "apt-get", "echo noble http://mirror.invalid/ubuntu/")
    program(tools / "dpkg-deb", "exit 1")
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.delenv("COMPRESS_DEBIAN_MIRROR", raising=False)
    monkeypatch.setattr("deploy_targets.emulation.userland._KEYRING", str(keyring))
    with pytest.raises(HostError) as caught:
        tree_of(CORTEX_A72, tmp_path / "cache", print)
    assert "COMPRESS_DEBIAN_MIRROR" in one_line(caught)


def test_a_wheel_that_is_not_there_is_said_in_a_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(HostError) as caught:
        site_of("onnxruntime", "1.20.1", tmp_path / "cache", print)
    assert "cannot fetch the aarch64 wheel of onnxruntime 1.20.1" in one_line(caught)
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime-1.20.1-cp311").mkdir()
    said: list[str] = []
    assert site_of("onnxruntime", "1.20.1", tmp_path, said.append).is_dir()
    assert said == []


def test_what_a_killed_build_left_is_taken_away_once_it_is_old(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    old, young = (
        tmp_path / ".onnxruntime-1.20.1-cp311.abc",
        tmp_path / ".onnxruntime-1.20.1-cp311.xyz",
    )
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(HostError):
        site_of("onnxruntime", "1.20.1", tmp_path, print)
    assert list(tmp_path.iterdir()) == [young]


def test_the_cache_is_the_users_unless_another_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("COMPRESS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "compress" / "arm64"
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here" / "arm64"


def test_qemu_is_found_by_either_of_its_names(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path / "qemu-aarch64", "")
    assert find_qemu() == str(tmp_path / "qemu-aarch64")

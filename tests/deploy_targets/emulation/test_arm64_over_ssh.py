"""An emulated Raspberry Pi 4 behind a real SSH server: `make test-arm64`.

Its login is a Debian for ARM64, in which everything, the shell too, runs under QEMU: wheels of
another processor are sent to it and a bundle answers there. How fast it does says nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_sshd import FakeDevice, serving

from deploy_targets.emulation.processors import CORTEX_A72
from deploy_targets.emulation.userland import cache_folder, find_qemu, tree_of
from deploy_targets.measuring.measure import MeasureOptions, measure
from deploy_targets.remote.checking import check
from deploy_targets.remote.provisioning import clean, packages_for, set_up
from deploy_targets.targets import load_target

pytestmark = pytest.mark.arm64

# A shell and its tools, beyond what emulation itself needs.
PACKAGES = ("dash", "coreutils", "libacl1", "libattr1", "libgmp10", "libselinux1", "libpcre2-8-0")

# The kernel hands ARM64 programs to QEMU, within this login alone.
LOGIN = r"""#!/bin/bash
set -e
formats=/proc/sys/fs/binfmt_misc
mount -t binfmt_misc binfmt_misc $formats
[ -e $formats/qemu-login ] || printf '%s' ':qemu-login:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:QEMU:F' > $formats/register
for name in null urandom; do mount --bind /dev/$name TREE/dev/$name; done
unset XDG_DATA_HOME LANG
export HOME=/root QEMU_CPU=cortex-a72
exec chroot TREE /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""  # noqa: E501


@pytest.fixture(scope="module")
def pi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDevice]:
    tree = tmp_path_factory.mktemp("pi") / "tree"
    there = tree_of(CORTEX_A72, cache_folder(), print)
    shutil.copytree((there / "usr").resolve().parent, tree, symlinks=True)
    for name in ("proc", "sys"):
        shutil.copytree(there / name, tree / name)
    add_a_shell(tree)
    folder = tmp_path_factory.mktemp("ssh") / "pi"
    with (
        serving(folder, login=lambda made: login(made, tree)) as device,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("COMPRESS_SSH_CONFIG", str(device.config))
        environment.setenv("COMPRESS_DEVICES", str(folder / "devices"))
        yield device


def add_a_shell(tree: Path) -> None:
    cache = cache_folder()
    environment = {**os.environ, "APT_CONFIG": str(cache / "apt/apt.conf")}
    debs = tree.with_name("debs")
    debs.mkdir()
    subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=debs, env=environment, check=True)
    for package in debs.iterdir():
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
    for name in ("dev", "tmp", "root"):
        (tree / name).mkdir(exist_ok=True)
    for name in ("null", "urandom"):
        (tree / "dev" / name).touch()
    (tree / "usr/bin/python3").unlink(missing_ok=True)
    (tree / "usr/bin/python3").symlink_to("python3.11")


def login(folder: Path, tree: Path) -> Path:
    (folder / "enter").write_text(
        LOGIN.replace("TREE", str(tree)).replace("QEMU:", f"{find_qemu()}:")
    )
    (folder / "login").write_text(f"#!/bin/sh\nexec unshare -r -m bash {folder}/enter\n")
    (folder / "login").chmod(0o755)
    return folder / "login"


def test_a_pi_is_set_up_from_here_and_a_bundle_answers_on_it(
    pi: FakeDevice, onnx_bundle: Path
) -> None:
    target = load_target("rpi4")
    done = set_up(pi.url, packages_for(target, []), print)
    assert done.via == {"onnxruntime": "wheels"}
    checked = check(pi.url, [target.runtimes[0].range], target.arch)
    assert checked.good, checked.findings
    assert (checked.facts.arch, checked.facts.cpu) == ("aarch64", "Cortex-A72")
    quick = MeasureOptions(threads=1, queries=2, min_seconds=0, max_seconds=0.1)
    found = measure(onnx_bundle, pi.url, quick)
    assert found.host.facts.arch == "aarch64"
    assert found.parity.top1_agreement == 1
    assert found.parity.max_abs_error < 1e-5
    assert clean(pi.url) > 50

"""`compress device`, and `compress bench` on devices behind ssh: one, and several at once."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_sshd import FakeDevice, another_machine, serving

from foundation.errors import HostError, MissingFileError, RecipeError, UsageError
from pipeline.commands.fleet import FleetHost, chosen_hosts, in_parallel, read_fleet
from pipeline.run_folder.folder import RunFolder

SHORT = ("--threads", 1, "--queries", 10, "--max-seconds", 0.2)


@pytest.fixture
def second(device: FakeDevice, small_disk: object) -> Iterator[FakeDevice]:
    """Another machine, set up as the first; like a small disk, it needs the right to mount."""
    folder = device.folder.with_name(f"second-{time.time_ns()}")
    with serving(folder, login=another_machine) as other:
        shutil.copytree(device.ours, other.ours, symlinks=True)
        yield other


def test_a_device_is_set_up_listed_checked_and_cleared(
    device: FakeDevice, compress, tmp_path: Path
) -> None:
    url = f"{device.url}{tmp_path}/there"
    shutil.copytree(device.ours, tmp_path / "there", symlinks=True)
    said = compress("device", "setup", "--host", url, "--runtime", "onnxruntime", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "nothing to do" in said.out
    (known,) = compress("device", "list", "--json", cwd=tmp_path).json()["devices"]
    assert known["url"] == url
    assert device.url in compress("device", "list", cwd=tmp_path).out
    said = compress("device", "check", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    (host,) = said.json()["hosts"]
    assert {one["what"] for one in host["found"]["findings"]} >= {
        "Python",
        "onnxruntime",
        "disk",
        "clock",
    }
    said = compress("device", "check", "--host", url, "--target", "rpi4", cwd=tmp_path)
    assert said.code == 21
    assert "but the target is aarch64" in said.complaint
    said = compress("device", "clean", "--host", url, cwd=tmp_path)
    assert said.code == 0, said.err
    assert not (tmp_path / "there").exists()
    assert "no device yet" in compress("device", "list", cwd=tmp_path).out
    said = compress("device", "check", cwd=tmp_path)
    assert said.code == 2
    assert "no device is known here" in said.complaint


def test_a_runs_bundle_is_measured_on_a_device(
    own: RunFolder, device: FakeDevice, compress, tmp_path: Path
) -> None:
    command = ("bench", "--host", device.url, "--bundle", "local-onnx-int8", *SHORT, "--json")
    said = compress(*command, cwd=tmp_path)
    assert said.code == 0, said.err
    (measured,) = said.json()["measurements"]
    assert measured["host"]["name"] == device.url
    (path,) = own.bench.glob("local-onnx-int8@ssh_*.json")
    before = path.stat().st_mtime_ns
    assert compress(*command, cwd=tmp_path).code == 0
    assert path.stat().st_mtime_ns == before


def test_several_hosts_measure_and_one_that_fails_does_not_lose_the_others(
    own: RunFolder, device: FakeDevice, second: FakeDevice, compress, tmp_path: Path
) -> None:
    (tmp_path / "fleet.toml").write_text(
        f'[hosts.kitchen]\nurl = "{device.url}"\nbench = {{ threads = 2 }}\n'
        f'[hosts.garage]\nurl = "{second.url}"\ntarget = "local"\n'
        '[hosts.attic]\nurl = "ssh://127.0.0.1:1"\n'
    )
    said = compress(
        "bench", "--fleet", "fleet.toml", "--bundle", "local-onnx-int8", *SHORT, "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert said.code == 21
    assert "Connection refused" in said.complaint
    found = said.json()
    assert [(one["host"], one["exit_code"]) for one in found["hosts"]] == [
        ("kitchen", 0), ("garage", 0), ("attic", 21),
    ]  # fmt: skip
    threads = {one["host"]["name"]: one["runtime"]["threads"] for one in found["measurements"]}
    assert threads == {device.url: 2, second.url: 1}
    assert len(list(own.bench.glob("local-onnx-int8@ssh_*.json"))) == 2
    steps = [name for name in own.record()["steps"] if name.startswith("bench local-onnx-int8@ssh")]
    assert len(steps) == 2


@pytest.mark.slow
def test_several_hosts_hold_a_bundle_against_the_last_release(
    own: RunFolder, device: FakeDevice, second: FakeDevice, compress, tmp_path: Path
) -> None:
    shutil.copytree(own.bundles / "local-onnx-fp32", tmp_path / "last")
    said = compress(
        "bench", "--host", device.url, "--host", second.url, "--bundle", "local-onnx-int8", *SHORT,
        "--against", "last", "--rounds", 7, "--json", cwd=tmp_path,
    )  # fmt: skip
    assert said.code == 0, said.err
    ratios = said.json()["ratios"]
    assert {one["host"] for one in ratios} == {device.url, second.url}
    assert {(one["reference"], one["basis"]) for one in ratios} == {
        ("local-onnx-fp32", "interleaved")
    }
    assert len(list((own.bench / "comparisons").glob("*.json"))) == 2
    absent = compress(
        "bench", "--host", device.url, "--host", second.url, "--against", "gone", cwd=tmp_path
    )
    assert absent.code == 10, absent.err
    assert "gone: no such bundle" in absent.complaint


def test_machines_work_at_once_but_one_machine_does_one_thing_at_a_time(
    device: FakeDevice, second: FakeDevice
) -> None:
    both = threading.Barrier(2, timeout=60)
    hosts = [FleetHost("one", device.url), FleetHost("other", second.url)]

    def meet(host: FleetHost) -> list[Path]:
        both.wait()
        return []

    assert in_parallel(hosts, meet, lambda _line: None) == {"one": [], "other": []}

    at_work: list[str] = []
    most: list[int] = []

    def alone(host: FleetHost) -> list[Path]:
        at_work.append(host.name)
        time.sleep(0.1)
        most.append(len(at_work))
        at_work.remove(host.name)
        if host.name == "first":
            raise HostError("first: off")
        return [Path(host.name)]

    lines: list[str] = []
    names = [FleetHost("first", "local"), FleetHost("again", device.url)]
    found = in_parallel(names, alone, lines.append)
    assert most == [1, 1]
    assert found["again"] == [Path("again")]
    assert isinstance(found["first"], HostError)
    assert any("the same machine, so one after the other: first, again" in one for one in lines)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[hosts.a]\nurll = "local"\n', "did you mean 'hosts.a.url'"),
        ("[hosts.a]\ntarget = 'rpi4'\n", "missing key 'hosts.a.url'"),
        ("[hosts]\n", "names no host"),
        ('[hosts.""]\nurl = "local"\n', "hosts must be a plain name"),
        ('[hosts."a\\u001b[2J"]\nurl = "local"\n', "hosts must be a plain name"),
        ("hosts = [\n", "fleet.toml"),
    ],
)
def test_a_fleet_file_that_is_wrong_is_told_by_its_key(
    tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "fleet.toml").write_text(content)
    with pytest.raises(RecipeError, match=words):
        read_fleet(tmp_path / "fleet.toml")


def test_a_fleet_is_read_in_its_order_and_names_no_host_twice(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('[hosts.b]\nurl = "ssh://b"\n[hosts.a]\nurl = "local"\ntarget = "rpi4"\n')
    assert [one.name for one in chosen_hosts(["ssh://c"], path)] == ["b", "a", "ssh://c"]
    with pytest.raises(UsageError, match=r"named 2 times \(b, ssh://b\)"):
        chosen_hosts(["ssh://b"], path)
    path.write_text('[hosts."ssh://b"]\nurl = "ssh://a"\n')
    with pytest.raises(UsageError, match="ssh://b: the name of two hosts"):
        chosen_hosts(["ssh://b"], path)
    with pytest.raises(MissingFileError, match="no such fleet"):
        read_fleet(tmp_path / "none.toml")

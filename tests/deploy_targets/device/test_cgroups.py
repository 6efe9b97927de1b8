"""A container's share of the cores, read from trees laid out as the kernel does, and its own."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from deploy_targets.device.cgroups import cpu_quota, throttled_periods
from deploy_targets.device.conditions import Watch, worst_of
from deploy_targets.device.facts import collect, usable_cores

TWO = "31 23 0:28 {start} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
ONE = "32 31 0:29 {start} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
OTHERS = "33 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.fixture
def second(tmp_path):
    """A tree of version 2: groups as {path: (cpu.max, nr_throttled)}."""

    def lay(groups, own="/", start="/"):
        write(tmp_path, "proc/self/mountinfo", OTHERS + TWO.format(start=start))
        write(tmp_path, "proc/self/cgroup", f"0::{own}\n")
        for path, (quota, throttled) in groups.items():
            folder = f"sys/fs/cgroup/{path}"
            write(tmp_path, f"{folder}/cpu.max", f"{quota}\n")
            stat = f"usage_usec 5\nnr_periods 9\nnr_throttled {throttled}\nthrottled_usec 7\n"
            write(tmp_path, f"{folder}/cpu.stat", stat)
        return tmp_path

    return lay


@pytest.fixture
def first(tmp_path):
    """A tree of version 1: groups as {path: (quota, nr_throttled)}."""

    def lay(groups, own="/", start="/"):
        write(tmp_path, "proc/self/mountinfo", OTHERS + ONE.format(start=start))
        lines = f"12:cpuset:/\n4:cpu,cpuacct:{own}\n1:name=systemd:/x\n0::/\n"
        write(tmp_path, "proc/self/cgroup", lines)
        for path, (quota, throttled) in groups.items():
            folder = f"sys/fs/cgroup/cpu,cpuacct/{path}"
            write(tmp_path, f"{folder}/cpu.cfs_quota_us", f"{quota}\n")
            write(tmp_path, f"{folder}/cpu.cfs_period_us", "100000\n")
            stat = f"nr_periods 9\nnr_throttled {throttled}\nthrottled_time 7\n"
            write(tmp_path, f"{folder}/cpu.stat", stat)
        return tmp_path

    return lay


def test_a_quota_of_version_2_is_read_in_cores(second):
    assert cpu_quota(second({"": ("150000 100000", 0)})) == 1.5


def test_no_quota_is_no_limit(second, first):
    assert cpu_quota(second({"": ("max 100000", 3)})) is None
    assert cpu_quota(first({"": (-1, 3)})) is None


def test_a_quota_of_version_1_is_read_in_cores(first):
    assert cpu_quota(first({"": (50000, 0)})) == 0.5


def test_the_tightest_quota_of_nested_groups_holds_and_all_that_held_back_count(second):
    groups = {
        "": ("max 100000", 0),
        "a": ("200000 100000", 5),
        "a/b": ("max 100000", 0),
        "a/b/c": ("400000 100000", 2),
        "a/other": ("10000 100000", 99),
    }
    root = second(groups, own="/a/b/c")
    assert cpu_quota(root) == 2.0
    assert throttled_periods(root) == 7


def test_a_group_that_the_container_does_not_see_is_where_its_tree_begins(first):
    root = first({"": (200000, 4)}, own="/docker/0123")
    assert (cpu_quota(root), throttled_periods(root)) == (2.0, 4)


def test_a_tree_that_is_mounted_from_the_containers_own_group_is_read(second):
    root = second(
        {"": ("100000 100000", 1), "x": ("50000 100000", 1)}, "/docker/12/x", "/docker/12"
    )
    assert (cpu_quota(root), throttled_periods(root)) == (0.5, 2)


@pytest.mark.parametrize("line", ["", "max", "x y", "0 100000", "100000 0", "100000", "-5 100000"])
def test_what_is_no_quota_is_none(line, second):
    assert cpu_quota(second({"": (line, 0)})) is None


def test_where_there_are_no_groups_nothing_is_told(tmp_path):
    assert (cpu_quota(tmp_path), throttled_periods(tmp_path)) == (None, None)
    write(tmp_path, "proc/self/mountinfo", "nonsense\n - \n1 2 - cgroup2\n")
    write(tmp_path, "proc/self/cgroup", "nonsense\n::\n")
    assert (cpu_quota(tmp_path), throttled_periods(tmp_path)) == (None, None)


@pytest.mark.parametrize(("quota", "cores"), [("100000", 1), ("50000", 1), ("190000", 1)])
def test_as_many_cores_are_usable_as_the_quota_is_whole_ones_worth(quota, cores, second):
    root = second({"": (f"{quota} 100000", 0)})
    assert usable_cores(root) == cores
    facts = collect(root)
    assert (facts.usable_cores, facts.cpu_quota) == (cores, int(quota) / 100000)


def test_a_quota_of_more_than_there_is_changes_nothing(second):
    root = second({"": ("9900000 100000", 0)})
    assert usable_cores(root) == len(os.sched_getaffinity(0))


def test_periods_are_counted_from_look_to_look_and_added_up(second):
    root = second({"": ("100000 100000", 3)})
    watch = Watch(root=root)
    seen = []
    for count in (3, 5, 9):
        second({"": ("100000 100000", count)})
        seen.append(watch.now("during"))
    assert [one.held_back for one in seen] == [0, 2, 4]
    assert worst_of(seen).held_back == 6


BUSY = """
import sys, time
sys.path[:0] = {path!r}
from deploy_targets.device.cgroups import cpu_quota, throttled_periods
from deploy_targets.device.facts import usable_cores
before, end = throttled_periods(), time.monotonic() + 60
# On cores that others use too, a quota is not used up at once.
while throttled_periods() == before and time.monotonic() < end:
    pass
print(cpu_quota(), usable_cores(), throttled_periods() - before > 0)
"""


def test_a_real_group_with_a_quota_is_seen_from_within():
    tree = Path("/sys/fs/cgroup/cpu")
    version_1 = (tree / "cpu.cfs_period_us").exists() or tree.is_dir()
    base = tree if version_1 else Path("/sys/fs/cgroup")
    group = base / f"compress-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here ({error.strerror})")
    try:
        try:
            if version_1:
                (group / "cpu.cfs_quota_us").write_text("5000")
            else:
                (group / "cpu.max").write_text("5000 100000")
        except OSError as error:
            pytest.skip(f"no quota can be set here ({error.strerror})")
        command = f'echo $$ > {group}/cgroup.procs && exec {sys.executable} -c "$CODE"'
        done = subprocess.run(
            ["sh", "-c", command], env={**os.environ, "CODE": BUSY.format(path=sys.path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.split() == ["0.05", "1", "True"]
    finally:
        group.rmdir()

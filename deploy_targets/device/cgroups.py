"""What the control groups of this process (a container's, a service's) let it have of the cores.

Version 1 and 2 are read, and every group above the process's own: the tightest quota holds. In a
container the groups above may not be seen, and its own is where the tree begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deploy_targets.device.linux import ROOT, number, text

_UNLIMITED = "max"


@dataclass(frozen=True)
class _Tree:
    """A mounted tree of groups.

    Attributes:
        mount: where it is mounted, beneath the root that is read.
        start: the group that the mount shows.
        own: the process's group, a path from the top.
    """

    mount: Path
    start: PurePosixPath
    own: PurePosixPath

    def groups(self) -> Iterator[Path]:
        """Folders of the process's group and of all above it that are seen."""
        inside = self.own.relative_to(self.start) if self._is_inside else PurePosixPath()
        folder = self.mount / inside
        yield folder
        while folder != self.mount:
            folder = folder.parent
            yield folder

    @property
    def _is_inside(self) -> bool:
        if not self.own.is_relative_to(self.start):
            return False
        return (self.mount / self.own.relative_to(self.start)).is_dir()


def cpu_quota(root: Path = ROOT) -> float | None:
    """Cores' worth of time that this process may take at most; None where nothing limits it."""
    quotas = [
        quota
        for tree in _trees(root)
        for group in tree.groups()
        if (quota := _quota(group)) is not None
    ]
    return min(quotas, default=None)


def throttled_periods(root: Path = ROOT) -> int | None:
    """In how many periods it was held back so far, by its own quota and those above it.

    Returns:
        None where it is not told.
    """
    trees = list(_trees(root))
    counts = [
        int(count)
        for tree in trees
        for group in tree.groups()
        if (count := _stat(group, "nr_throttled")) is not None
    ]
    # The topmost group has no quota, and so no count.
    return sum(counts) if trees else None


def _trees(root: Path) -> Iterator[_Tree]:
    """The mounted trees that hand out time of the cores."""
    own = dict(_own_groups(root))
    for line in (text(root / "proc/self/mountinfo") or "").splitlines():
        fields, _, more = line.partition(" - ")
        words, kinds = fields.split(), more.split()
        if len(words) < 5 or not kinds:
            continue
        name = {"cgroup2": "", "cgroup": "cpu"}.get(kinds[0])
        if name is None or (name and name not in kinds[-1].split(",")) or name not in own:
            continue
        mount = root / words[4].lstrip("/")
        yield _Tree(mount, PurePosixPath(words[3]), own[name])


def _own_groups(root: Path) -> Iterator[tuple[str, PurePosixPath]]:
    """The process's group by the controller's name; that of version 2 by no name."""
    for line in (text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        names, colon, path = rest.partition(":")
        if colon:
            yield from ((name, PurePosixPath(path)) for name in names.split(","))


def _quota(group: Path) -> float | None:
    quota, _, period = (text(group / "cpu.max") or "").partition(" ")
    if not quota:
        quota = text(group / "cpu.cfs_quota_us") or ""
        period = text(group / "cpu.cfs_period_us") or ""
    quota_us, period_us = number(quota), number(period)
    if (
        quota == _UNLIMITED
        or quota_us is None
        or period_us is None
        or quota_us <= 0
        or period_us <= 0
    ):
        return None
    return quota_us / period_us


def _stat(group: Path, key: str) -> float | None:
    for line in (text(group / "cpu.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return number(value)
    return None

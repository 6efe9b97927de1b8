"""What a verdict in a run folder rests on is what the run made: run.json lists its SHA-256, and the
bundle that was measured is the bundle that is there.

Nothing here is signed: whoever can write run.json can make it list anything.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from deploy_targets.hosts.host_names import bundle_named_in
from deploy_targets.measurement import BundleMeasured, describe
from foundation.bundle import MANIFEST, open_any_bundle
from foundation.errors import CorruptFileError, MissingFileError
from foundation.files import sha256_of
from pipeline.run_folder.folder import RunFolder

_MEASURED = "bench "
"""How the names of the steps begin that measure; see `pipeline.benching.bench`."""


class Vouching:
    """The files of one run folder, held against what its run.json lists; each is hashed once."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._listed = run.recorded_files()
        self._described: dict[str, BundleMeasured] = {}

    def check_file(self, path: Path, command: str = "compress bench") -> None:
        """Make sure that a step of this run made a file, and that it is as it was made.

        Args:
            path: within the run folder.
            command: what makes it.

        Raises:
            CorruptFileError: when run.json does not list it, or it was changed since.
        """
        listed = self._listed_as(path)
        if listed is None:
            raise CorruptFileError(
                f"{path}: {self._run.record_path} does not list it, so no step of this run made "
                f"it; take it out of the folder, or make it here with `{command}`"
            )
        actual = sha256_of(path)
        if actual != listed:
            raise CorruptFileError(
                f"{path}: changed since it was made: {self._run.record_path} lists SHA-256 "
                f"{listed[:12]}…, and it has {actual[:12]}…; put it back, or delete it and run "
                f"`{command}` again"
            )

    def doubts(self) -> list[str]:
        """Measurements, estimates, comparisons and series under sustained load that are not as a
        step of the run made them: a line each, such as "changed since the run made it:
        bench/a@local.json"."""
        run, lines = self._run, []
        measured = [*run.measurement_paths(), *run.estimate_paths(), *run.comparison_paths()]
        for path in [*measured, *run.sustained_paths(), *run.operator_paths()]:
            name, listed = path.relative_to(run.path).as_posix(), self._listed_as(path)
            if listed is None:
                lines.append(f"not made by any step of the run: {name}")
            elif sha256_of(path) != listed:
                lines.append(f"changed since the run made it: {name}")
        return lines

    def _listed_as(self, path: Path) -> str | None:
        """The SHA-256 that run.json has of a file; None where it lists none."""
        return self._listed.get(path.relative_to(self._run.path).as_posix())

    def check_none_is_gone(self) -> None:
        """Make sure that every measurement of a bundle that is there is there too.

        Raises:
            MissingFileError: when one was taken away, with which a limit might be broken.
        """
        for name, step in self._run.record()["steps"].items():
            if not name.startswith(_MEASURED):
                continue
            for product in step["products"]:
                path = self._run.path / product
                if not path.is_file() and self._is_there(path, step["depends_on"].get("manifest")):
                    raise MissingFileError(
                        f"{path}: gone, though {self._run.record_path} lists it; put it back, or "
                        "measure again with `compress bench`"
                    )

    def check_bundle(
        self, measured: BundleMeasured, path: Path, command: str = "compress bench"
    ) -> None:
        """Make sure that what was measured is the bundle that is there, byte for byte.

        Args:
            measured: what the record says of it.
            path: the record's file.
            command: what makes the record.

        Raises:
            MissingFileError: when the run has no such bundle, or not all of its files.
            CorruptFileError: when a file of it was changed, or the record says otherwise of it.
        """
        folder = self._run.bundles / measured.name
        if not (folder / MANIFEST).is_file():
            raise MissingFileError(
                f"{path}: is of {measured.name}, which is not in {self._run.bundles} (any more); "
                "make it again with `compress export`, or delete this file"
            )
        if sha256_of(folder / MANIFEST) != measured.manifest_sha256:
            raise MissingFileError(
                f"{folder}: exported anew since {path.name} was made; run `{command}`"
            )
        described = self._described.get(measured.name)
        if described is None:
            described = self._described[measured.name] = describe(open_any_bundle(folder))
        for key, value in asdict(measured).items():
            actual = getattr(described, key)
            if value != actual:
                raise CorruptFileError(
                    f"{path}: says that the {key} of {folder.name} is {value!r}, but the bundle's "
                    f"own is {actual!r}; run `{command}` again"
                )

    def _is_there(self, path: Path, manifest: object) -> bool:
        """Whether the bundle that a measurement was of is there, and not another of its name."""
        bundle_manifest = self._run.bundles / bundle_named_in(path.name) / MANIFEST
        return bundle_manifest.is_file() and sha256_of(bundle_manifest) == manifest


def check_as_listed(path: Path) -> RunFolder | None:
    """Make sure that a file which was named alone is as the run folder that it lies in lists it.

    What no run folder lists, vouches for itself.

    Returns:
        The run folder that lists it, if one does.

    Raises:
        CorruptFileError: when it was changed.
    """
    for folder in path.absolute().parents[:3]:
        run = RunFolder(folder)
        if run.record_path.is_file():
            name = path.absolute().relative_to(folder).as_posix()
            if name in run.recorded_files():
                Vouching(run).check_file(path.absolute())
                return run
            return None
    return None

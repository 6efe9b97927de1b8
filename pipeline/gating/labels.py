"""What test images show, and which classes there are: from the run folders of what is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundation.errors import unknown_name
from pipeline.data.facts import FACTS, TEST, read_facts, read_labels
from pipeline.gating.metrics import OF_ONE_CLASS, metric_named
from pipeline.run_folder.folder import RunFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class LabelledClasses:
    """What test images show.

    Attributes:
        labels: int64 (N,).
        names: of the classes, in the order of the logits.
    """

    labels: NDArray[np.int64]
    names: Sequence[str]


class LabelsKnown:
    """The labels of the test images of several runs, read when they are asked for."""

    def __init__(self, runs: Iterable[RunFolder]) -> None:
        self._runs = [run for run in runs if (run.data / FACTS).is_file()]
        self._by_digest: dict[str, LabelledClasses] | None = None

    def of(self, sha256: str | None) -> LabelledClasses | None:
        """Those with a digest, as `Accuracy.labels_sha256`; None where no run has them."""
        if self._by_digest is None:
            from deploy_targets.device.checks import labels_of  # noqa: PLC0415 - few limits ask

            found = ((run, run.data / TEST) for run in self._runs)
            self._by_digest = {
                labels_of(path)[0]: LabelledClasses(read_labels(path), read_facts(run.data).classes)
                for run, path in found
                if path.is_file()
            }
        return None if sha256 is None else self._by_digest.get(sha256)

    def names(self) -> Sequence[str] | None:
        """The classes of the first run; None where there is none."""
        return read_facts(self._runs[0].data).classes if self._runs else None


def check_classes(
    limits: Iterable[str],
    classes: Sequence[str],
    where: Callable[[str], str] = "limits.{}".format,
) -> None:
    """Make sure that there are the classes that limits name.

    Args:
        limits: names of metrics.
        classes: of the data.
        where: names a metric's place.

    Raises:
        UnknownNameError: when there is none of that name.
    """
    for name in limits:
        kind, dot, of = name.partition(".")
        if dot and kind in OF_ONE_CLASS and metric_named(name).by_class and of not in classes:
            raise unknown_name("class", of, classes, where(name))

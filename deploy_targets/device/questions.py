"""What a bundle is asked on a device, and how its answers are held against the original's: the one
place on this side that knows a classifier from another graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deploy_targets.device import checks
from deploy_targets.device.messages import Parity
from foundation.bundle import AnyBundle, Bundle
from foundation.errors import ModelMismatchError
from foundation.graph_bundle import Feed, GraphBundle, Outputs
from foundation.output_agreement import OutputAgreement, output_agreement

# Probe images that are asked at once: a small device has to have the memory for them.
_TOGETHER = 16


class Questions(Protocol):
    """A bundle's probe.

    Attributes:
        names: what a `runtimes.Model` is told of the graph's inputs and outputs.
    """

    @property
    def names(self) -> dict[str, Any]: ...

    def __len__(self) -> int:
        """Number of samples, at least one."""
        ...

    def query(self, batch: int, first: int = 0) -> Any:
        """So many samples as a session takes them, repeated as needed, from the first one on."""
        ...

    def parity(self, run: Callable[[Any], Any]) -> Parity:
        """How answers agree with the original's.

        Raises:
            ModelMismatchError: when they are none of this graph, or it does not run.
        """
        ...


def questions_of(bundle: AnyBundle) -> Questions:
    """What a bundle's probe asks.

    Raises:
        CorruptFileError: when the probe cannot be read or does not fit the bundle.
    """
    if isinstance(bundle, GraphBundle):
        return SampleQuestions(bundle, *bundle.probe())
    assert isinstance(bundle, Bundle), "there are no other bundles"
    return ImageQuestions(bundle, *checks.load_probe(bundle))


@dataclass(frozen=True)
class ImageQuestions:
    """A classifier's.

    Attributes:
        bundle: the classifier's.
        images: the probe images as the model takes them.
        reference: the original's logits for them.
    """

    bundle: Bundle
    images: NDArray[Any]
    reference: NDArray[np.float32]

    @property
    def names(self) -> dict[str, Any]:
        manifest = self.bundle.manifest
        return {"input_name": manifest.input.name, "output_name": manifest.output.name}

    def __len__(self) -> int:
        return len(self.images)

    def query(self, batch: int, first: int = 0) -> NDArray[Any]:
        return np.ascontiguousarray(self.images[(first + np.arange(batch)) % len(self.images)])

    def parity(self, run: Callable[[Any], Any]) -> Parity:
        """A runtime computes a batch by other kernels than an image alone, and fusions have been
        wrong for some sizes: a model of a free batch size is asked in both ways, and the worse of
        each figure counts. Last comes an image alone, which is how most queries are.
        """
        takes_any = self.bundle.manifest.input.batch is None and len(self.images) > 1
        sizes = [_TOGETHER, 1] if takes_any else [1]
        parities = [checks.parity(self._answers(run, size), self.reference) for size in sizes]
        return functools.reduce(checks.worst_parity, parities)

    def _answers(self, run: Callable[[Any], Any], size: int) -> NDArray[np.float32]:
        """Logits (N, classes) of the probe images, so many asked at once."""
        starts = range(0, len(self.images), size)
        return np.concatenate([run(self.images[at : at + size]) for at in starts])


@dataclass(frozen=True)
class SampleQuestions:
    """Those of a graph that is no classifier: a sample a query.

    Attributes:
        bundle: the graph's.
        feeds: the probe's samples.
        reference: what the original gave for each, by output.
    """

    bundle: GraphBundle
    feeds: list[Feed]
    reference: Outputs

    @property
    def names(self) -> dict[str, Any]:
        manifest = self.bundle.manifest
        outputs = tuple(spec.name for spec in manifest.outputs)
        return {
            "input_name": manifest.inputs[0].name,
            "output_name": outputs[0],
            "output_names": outputs,
            "example": self.feeds[0],
        }

    def __len__(self) -> int:
        return len(self.feeds)

    def query(self, batch: int, first: int = 0) -> Feed:
        assert batch == 1, "its shape is fixed"
        return self.feeds[first % len(self.feeds)]

    def parity(self, run: Callable[[Any], Any]) -> Parity:
        answers = [run(feed) for feed in self.feeds]
        try:
            outputs = [
                output_agreement(spec.name, self.reference[spec.name], [a[at] for a in answers])
                for at, spec in enumerate(self.bundle.manifest.outputs)
            ]
        except ValueError as error:
            raise ModelMismatchError(
                f"{self.bundle.model_path}: {error}; export it in another precision"
            ) from error
        return parity_over(outputs)


def parity_over(outputs: list[OutputAgreement]) -> Parity:
    """The worst of all outputs, and each by itself."""
    absolute = [o.max_abs_error for o in outputs if o.max_abs_error is not None]
    relative = [o.relative_error for o in outputs if o.relative_error is not None]
    return Parity(
        max_abs_error=max(absolute, default=0.0),
        relative_error=max(relative, default=None),
        top1_agreement=None,
        n=outputs[0].n,
        outputs=outputs,
    )

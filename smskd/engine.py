"""The engine: on what device and in what precision training runs, in one process or several."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import nn

    from smskd.batch import Batch

Precision = Literal["fp32", "bf16", "fp16"]
_FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class Engine:
    """How training is carried out; it does not change what is learned, rounding aside.

    Under `torchrun` every process trains on its part of each batch (distributed data parallel).

    Attributes:
        accelerator: "auto" takes a GPU where there is one.
        precision: number format of the forward passes (autocast); weights stay in fp32.
        channels_last: memory layout of images and convolutions.
        compile: compile student and teacher with `torch.compile`: a slow first step, faster ones
            after it.
    """

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Precision = "fp32"
    channels_last: bool = True
    compile: bool = False

    def fabric(self) -> Any:
        """A launched Lightning Fabric."""
        from lightning_fabric import Fabric  # noqa: PLC0415 - two seconds, only when training

        # Fabric tells at every start which precision it uses; the recipe says so already. Its
        # import sets the level, so it is set again after it.
        logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
        total, local = launched_processes()
        fabric = Fabric(
            accelerator=self.accelerator,
            devices=local,
            num_nodes=total // local,
            strategy="ddp" if total > 1 else "auto",
            precision=_FABRIC_PRECISION[self.precision],
        )
        fabric.launch()
        return fabric

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout that images and convolutions are kept in."""
        import torch  # noqa: PLC0415 - so that a recipe, which holds an Engine, is read without it

        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place_images(self, images: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Move a batch to the device and, if it is of shape (N, C, H, W), into that layout.

        From pinned memory a GPU takes it while the processor goes on.
        """
        ahead = device.type == "cuda"
        if images.dim() == 4:
            return images.to(device, non_blocking=ahead, memory_format=self.memory_format)
        return images.to(device, non_blocking=ahead)

    @property
    def takes_pinned(self) -> bool:
        """Whether batches had best lie in pinned memory: where a GPU of CUDA is what is taken."""
        import torch  # noqa: PLC0415 - as above

        return self.accelerator in {"auto", "cuda"} and torch.cuda.is_available()

    def place_batch(self, batch: Batch, device: torch.device) -> Batch:
        """Move all of a batch to the device, its images into the engine's memory layout."""
        teacher_images = batch.teacher_images
        return batch._replace(
            images=self.place_images(batch.images, device),
            labels=batch.labels.to(device, non_blocking=device.type == "cuda"),
            ids=None if batch.ids is None else batch.ids.to(device),
            teacher_images=None
            if teacher_images is None
            else self.place_images(teacher_images, device),
        )

    def place(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Move a network to the device and into the engine's memory layout."""
        return model.to(device, memory_format=self.memory_format)  # type: ignore[call-overload,no-any-return]


def launched_processes() -> tuple[int, int]:
    """How many processes torchrun has started, in all and on this machine; (1, 1) without it."""
    return int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def derive_seed(*parts: object) -> int:
    """A seed for one purpose, from the run's seed and the purpose's name.

    So what an epoch draws depends on the run's seed and the epoch alone, and a resumed run
    draws the same as one that never stopped.
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1

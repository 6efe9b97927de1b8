"""Images that lie on the device for good, and are shifted, flipped and normalised there.

The views are those of `pipeline.data.batches.TrainBatches`, pixel by pixel: where an image is cut
and whether it is flipped is drawn by the same function of (seed, image, epoch), and so is the order
of an epoch. An epoch's draws are three small numbers an image, which are all that goes to the
device while it trains.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foundation.bundle import Preprocessing
from pipeline.data.draws import uniform
from pipeline.data.images import Ids, Images, ImageSet, blocks
from pipeline.data.prefetch import prefetched, usable_cores
from smskd.checkpoints.files import content_sha256

_EVALUATED_AT_ONCE = 1000


def pixels_of(images: ImageSet) -> Images:
    """All images of a set, decoded by all cores: uint8, shape (N, H, W, C)."""
    parts = prefetched(images.read, blocks(len(images.labels)), 2 * usable_cores())
    return np.concatenate(list(parts))


class DeviceImages:
    """Images and labels on a device.

    Attributes:
        labels: shape (N,), int64.

    Args:
        pixels: uint8, shape (N, H, W, C).
        labels: shape (N,).
        preprocessing: its mean and deviation.
        device: where they lie.
        shift: an image is padded with so many zeros on each side, and a window is cut out.
        flip: whether half of the images are mirrored.
    """

    def __init__(
        self,
        pixels: Images,
        labels: Ids,
        preprocessing: Preprocessing,
        device: torch.device,
        *,
        shift: int = 0,
        flip: bool = False,
    ) -> None:
        self.shift, self.flip = shift, flip
        self.height, self.width = pixels.shape[1:3]
        border = (0, 0, shift, shift, shift, shift)
        self._padded = F.pad(torch.from_numpy(pixels).to(device), border)
        self.labels = torch.from_numpy(labels).to(device)
        std, mean = (
            np.asarray(values, np.float64) for values in (preprocessing.std, preprocessing.mean)
        )
        self._scale = torch.from_numpy((1 / (255 * std)).astype(np.float32)).to(device)
        self._offset = torch.from_numpy((-mean / std).astype(np.float32)).to(device)
        self._rows = torch.arange(self.height, device=device)
        self._columns = torch.arange(self.width, device=device)

    def digest(self) -> str:
        """Hex SHA-256 of the images, as they are normalised, and their labels."""
        return content_sha256(
            {
                "pixels": self._padded,
                "labels": self.labels,
                "scale": self._scale,
                "offset": self._offset,
            }
        )

    def __len__(self) -> int:
        return len(self.labels)

    def order(self, seed: int, epoch: int) -> Ids:
        """The images' numbers as an epoch takes them: shape (N,)."""
        return np.random.default_rng([seed, epoch]).permutation(len(self))

    def draws(self, seed: int, epoch: int) -> Tensor:
        """Where every image is cut and whether it is flipped, on the CPU.

        Returns:
            int64, shape (N, 3): the window's top and left in the padded image, and 0 or 1.
        """
        drawn = uniform(seed, np.arange(len(self)), epoch, 3)
        places = (drawn[:, :2] * (2 * self.shift + 1)).astype(np.int64)
        flipped = (drawn[:, 2:] < 0.5) & self.flip
        return torch.from_numpy(np.concatenate([places, flipped], axis=1))

    def views(self, ids: Tensor, draws: Tensor) -> Tensor:
        """Images as a network takes them, by a handful of kernels that wait for nothing.

        Args:
            ids: numbers of images, shape (n,), on the device.
            draws: theirs, shape (n, 3), on the device.

        Returns:
            float32, shape (n, C, H, W), laid out with the channels last.
        """
        top, left, flipped = draws[:, :, None].unbind(1)
        columns = torch.where(flipped == 1, self._columns.flip(0), self._columns)
        rows, columns = top + self._rows, left + columns
        taken = self._padded[ids[:, None, None], rows[:, :, None], columns[:, None, :]]
        normalised = torch.addcmul(self._offset, taken.float(), self._scale)
        return normalised.permute(0, 3, 1, 2)

    def as_they_are(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once, neither shifted nor flipped, with their labels: for evaluation."""
        middle = torch.tensor([self.shift, self.shift, 0], device=self.labels.device)
        for ids in torch.arange(len(self), device=self.labels.device).split(_EVALUATED_AT_ONCE):
            yield self.views(ids, middle.expand(len(ids), 3)), self.labels[ids]

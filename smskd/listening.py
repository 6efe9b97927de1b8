"""What training tells while it runs. The loop prints nothing; a listener may."""

from __future__ import annotations

from typing import Any


class Listener:
    """Takes note of nothing; a display overrides what it shows."""

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        """A stage begins, or goes on after `done` epochs."""

    def batch_done(self, batch: int, batches: int | None) -> None:
        """Batch `batch` (from 1) of `batches` (None when unknown) of the running epoch is done."""

    def epoch_done(self, record: dict[str, Any]) -> None:
        """An epoch is done; its record holds epoch, seconds, lr, losses by name, val_top1,
        and val_agreement where images without labels are there to hold the student against the
        teacher."""

    def stage_done(self, name: str, seconds: float) -> None:
        """A stage is done, or was found done."""

    def views_started(self, views: int, done: int) -> None:
        """The teacher is asked about `views` fixed views of the data; `done` were kept before."""

    def view_done(self) -> None:
        """What it says about one more view is kept."""

    def views_done(self) -> None:
        """All views are kept."""

"""Labels of images, as data, training and measurements have them in common."""

from __future__ import annotations

UNLABELLED = -1
"""The label of an image of which nobody says what it shows."""

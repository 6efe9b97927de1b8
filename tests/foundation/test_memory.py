"""Tests of how many images are worked on at once, and of what the allocator is told."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from foundation.memory import at_once, images_at_once

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
_COUNTS_FAULTS = """
import resource
import numpy as np
from foundation.memory import give_back_freed_memory, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(64 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

before, told, after = faults(), keep_freed_memory(), faults()
held = resident()
give_back_freed_memory()
print(told, after < before / 2, held - resident() > 32 << 20)
"""


def test_the_number_of_images_follows_from_their_bytes() -> None:
    assert images_at_once(224, 224, 3, most=256) == 8
    assert images_at_once(32, 32, 3, most=256) == 256
    assert images_at_once(8, 8, 1, most=64) == 64
    assert images_at_once(4096, 4096, 3, most=64) == 1


def test_the_order_of_the_axes_does_not_matter() -> None:
    assert at_once(np.empty((2, 224, 224, 3), np.uint8), 64) == 8
    assert at_once(np.empty((2, 3, 224, 224), np.float32), 64) == 8


def outcome(**environment: str) -> list[str]:
    """What a fresh process says: was the allocator told, are arrays kept, are they given back."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", _COUNTS_FAULTS]
    run = subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, check=True
    )
    return run.stdout.split()


@LINUX
def test_freed_memory_serves_the_next_large_array_until_it_is_given_back() -> None:
    assert outcome() == ["True", "True", "True"]


@LINUX
def test_an_allocator_that_somebody_has_set_is_left_alone() -> None:
    assert outcome(MALLOC_MMAP_MAX_="65536")[:2] == ["False", "False"]

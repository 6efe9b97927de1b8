"""What more threads are worth to a teacher that trains alone (docs/benchmarks.md).

    python benchmarks/teacher_threads.py --threads 2 --rounds 5

Plain training steps of a study's teachers on one thread and on several, in turns, as a task's
process has them: digits-study's (resnet20, 16×16 pixels, batches of 16), the same network on
batches of 128, and one for photos (resnet56, 32×32, batches of 32, bf16). It also says whether
both end with the same bits.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

# As a study's processes have it; before the libraries are loaded.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

import torch
from torch.nn import functional as F

from pipeline.models import build_model

CASES = {
    "resnet20, 16×16, batches of 16, fp32": ("resnet20", 16, 16, False, 60),
    "resnet20, 16×16, batches of 128, fp32": ("resnet20", 16, 128, False, 20),
    "resnet56, 32×32, batches of 32, bf16": ("resnet56", 32, 32, True, 12),
}


def trained(case: tuple[str, int, int, bool, int], threads: int) -> tuple[float, float, bytes]:
    """Take a network through some steps: seconds by the clock, of the processor, last weights."""
    name, side, batch, is_bf16, steps = case
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = build_model(name, 10, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    began, worked = time.perf_counter(), time.process_time()
    for _ in range(steps):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bf16):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    taken = time.perf_counter() - began, time.process_time() - worked
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return *taken, weights.numpy().tobytes()


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for title, case in CASES.items():
        trained(case, 1)  # what is made once is paid for here
        turns = [(trained(case, 1), trained(case, options.threads)) for _ in range(options.rounds)]
        clock = statistics.median(one[0] / several[0] for one, several in turns)
        work = statistics.median(several[1] / one[1] for one, several in turns)
        same = all(one[2] == several[2] for one, several in turns)
        print(
            f"{title}: {options.threads} threads {clock:.2f} × as fast as one by the clock, "
            f"{work:.2f} × the processor's time; {'the same' if same else 'other'} bits",
            flush=True,
        )


if __name__ == "__main__":
    main()

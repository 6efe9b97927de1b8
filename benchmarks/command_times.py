"""How long commands take beside a bare interpreter, and a finished run beside its first walk.

    python benchmarks/command_times.py runs/digits

Commands are timed in turns (A B C A B C …), so that a noisy minute hits all of them. Prints a
Markdown table of medians, as ratios to `python -c pass`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from pipeline.run_folder.folder import open_run

ROUNDS = 9
_ANSWERS = {0, 1, 3}  # pass, fail, inconclusive
COMPRESS = str(Path(sys.executable).with_name("compress"))


def seconds(command: list[str]) -> float:
    """Wall time of one run of a command that must do its work, whatever a gate then says."""
    started = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode not in _ANSWERS:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.decode()}")
    return time.perf_counter() - started


def main() -> None:
    """Time the commands on the run folder that the command line names."""
    folder = sys.argv[1]
    again = [COMPRESS, "run", str(Path(folder) / "recipe.toml"), "--run", folder]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import torch'": [sys.executable, "-c", "import torch"],
        "compress --help": [COMPRESS, "--help"],
        "compress targets": [COMPRESS, "targets"],
        "compress gate": [COMPRESS, "gate", folder],
        "compress report": [COMPRESS, "report", folder],
        "compress run, all done before": again,
    }
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            samples[name].append(seconds(command))
    medians = {name: statistics.median(times) for name, times in samples.items()}
    base = medians["python -c pass"]
    print("| command | × `python -c pass` | median s |\n| --- | ---: | ---: |")
    for name, median in medians.items():
        print(f"| `{name}` | {median / base:.1f} | {median:.2f} |")
    steps = open_run(Path(folder)).record()["steps"].values()
    first = sum(step["seconds"] for step in steps)
    done = medians["compress run, all done before"]
    print(
        f"\nFirst walk of this run: {first:.0f} s; again: {done:.1f} s, {first / done:.0f}× faster."
    )


if __name__ == "__main__":
    main()

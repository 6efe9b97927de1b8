"""How long commands take beside a bare interpreter, and a finished run beside its first walk.

    python benchmarks/command_times.py runs/digits
    python benchmarks/command_times.py runs/digits --before TREE runs/digits-before

Commands are timed in turns (A B C A B C …), so that a noisy minute hits all: the processor's
time, which other programs lengthen less than the clock's. Bytecode is kept, as where a user
installs the program, whatever this environment says of it. Prints a Markdown table of medians, as
ratios to `python -c pass`; with --before also those of the source tree TREE, on a run of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pipeline.run_folder.folder import open_run

_ANSWERS = {0, 1, 3}  # pass, fail, inconclusive
COMPRESS = str(Path(sys.executable).with_name("compress"))


def keeping_bytecode(folder: str) -> dict[str, str]:
    """The environment of a command that keeps its bytecode in a folder."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder}


def seconds(command: list[str], tree: Path | None, environment: Mapping[str, str]) -> float:
    """Processor time of one run of a command that must do its work, whatever a gate then says."""
    if tree is not None:
        environment = {**environment, "PYTHONPATH": str(tree)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=False, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in _ANSWERS:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.decode()}")
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def commands_on(run: Path) -> dict[str, list[str]]:
    """What is timed, by what the table calls it."""
    again = [COMPRESS, "run", str(run / "recipe.toml"), "--run", str(run)]
    return {
        "compress --help": [COMPRESS, "--help"],
        "compress targets": [COMPRESS, "targets"],
        "compress gate": [COMPRESS, "gate", str(run)],
        "compress report": [COMPRESS, "report", str(run)],
        "compress run, all done before": again,
    }


def main() -> None:
    """Time the commands on the run folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--before", nargs=2, type=Path, metavar=("TREE", "RUN"))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    trees: dict[str, tuple[Path | None, Path]] = {"now": (None, options.run)}
    if options.before:
        trees["before"] = (options.before[0], options.before[1])
    bare = [sys.executable, "-c", "pass"]
    samples: dict[tuple[str, str], list[float]] = {("python -c pass", "now"): []}
    with tempfile.TemporaryDirectory() as bytecode:
        environment = keeping_bytecode(bytecode)
        for _ in range(options.rounds + 1):
            samples["python -c pass", "now"].append(seconds(bare, None, environment))
            for which, (tree, run) in trees.items():
                for name, command in commands_on(run).items():
                    taken = seconds(command, tree, environment)
                    samples.setdefault((name, which), []).append(taken)
    # The first round writes bytecode, and a report that was not there.
    medians = {key: statistics.median(times[1:]) for key, times in samples.items()}
    base = medians["python -c pass", "now"]
    heads = ["command", *(f"× `python -c pass`, {which}" for which in reversed(trees)), "s now"]
    print(f"| {' | '.join(heads)} |\n| --- {'| ---: ' * (len(heads) - 1)}|")
    for name in ("python -c pass", *commands_on(options.run)):
        ratios = [
            f"{medians[name, which] / base:.1f}" if (name, which) in medians else "1.0"
            for which in reversed(trees)
        ]
        print(f"| `{name}` | {' | '.join(ratios)} | {medians[name, 'now']:.2f} |")
    steps = open_run(options.run).record()["steps"].values()
    first = sum(step["seconds"] for step in steps)
    print(f"\nFirst walk of this run: {first:.0f} s by the clock.")


if __name__ == "__main__":
    main()

"""Runs `compress` in forks of one process that has imported everything heavy; a program.

Reads a line of JSON for each command, {"arguments", "cwd", "stem"}, and answers with its exit
code. What the command prints lies in the files STEM.out and STEM.err. A command behaves as in a
process of its own, but the seconds that imports take are paid once.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback

from pipeline.cli import main

HEAVY = (
    "pipeline.commands.run",
    "pipeline.exporting.precision_search",
    "export.checking.layers",
    "onnxslim",
    "nncf",
    "sklearn.datasets",
)


def carry_out(arguments: list[str], cwd: str, stem: str) -> None:
    """Become the command; never returns."""
    for number, end in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{stem}.{end}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    sys.argv = ["compress", *arguments]
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


for name in HEAVY:
    importlib.import_module(name)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        carry_out(**json.loads(line))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)

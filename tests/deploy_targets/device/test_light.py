"""The device side is light: what it imports, and what it does around a query."""

import json
import subprocess
import sys

import numpy as np
import pytest

from deploy_targets.device.jobs import Job
from deploy_targets.device.scenarios import series_of

# Beyond Python's own library.
ALLOWED = {"deploy_targets", "foundation", "numpy"}


@pytest.mark.parametrize("module", ["worker", "server", "profiling", "sustaining"])
def test_a_process_imports_nothing_beyond_numpy(module):
    code = (
        f"import deploy_targets.device.{module}, json, sys\n"
        "tops = {name.partition('.')[0] for name, module in sys.modules.items() if module}\n"
        "print(json.dumps(sorted(tops - sys.stdlib_module_names)))"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {name for name in json.loads(said.stdout) if name != "__main__"}
    assert found - ALLOWED == set()


def test_a_query_costs_few_calls_of_ours():
    """Calls are counted and not timed: a handful of them takes no microseconds to speak of."""
    series = series_of(Job(bundle="bundle", runtime="runtime"), [lambda batch: None], [np.zeros(1)])
    counted = []

    def count(frame, event, _argument):
        if event in {"call", "c_call"}:
            counted.append(frame)

    def calls(queries):
        counted.clear()
        sys.setprofile(count)
        try:
            series.part(queries, 60)
        finally:
            sys.setprofile(None)
        return len(counted)

    # The clock twice, the query's own function, the next batch, the model, the sample, the count.
    assert (calls(1010) - calls(10)) / 1000 <= 8

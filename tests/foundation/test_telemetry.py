"""No process of ours reports home: no name is asked for, no socket opened, no file left for it."""

import os
import shutil
import subprocess
import sys

import pytest

from foundation.telemetry import SWITCHES

# A hook that hears of every socket that Python opens, and of every name that it asks for.
HOOK = """
import os, sys
def heard(event, args):
    if event.startswith("socket.") and event != "socket.__new__":
        with open(os.environ["SEEN"], "a") as file:
            file.write(f"{event} {args!r}\\n")
sys.addaudithook(heard)
"""
MODEL = """
import onnx
from onnx import TensorProto, helper
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "ab"]
graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.save(model, "model.onnx")
"""
WORK = {
    "onnxruntime": "import onnxruntime\n"
    "onnxruntime.InferenceSession('model.onnx', providers=['CPUExecutionProvider'])\n",
    "openvino": "import openvino\nopenvino.convert_model('model.onnx')\n",
}


@pytest.fixture
def run_at_home(tmp_path):
    """Run code in a fresh process whose home is empty, and give what it left and whom it called."""
    home, site, seen = tmp_path / "home", tmp_path / "site", tmp_path / "seen"
    home.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(HOOK)
    away = {*SWITCHES, "CI", "TF_BUILD", "JENKINS_URL", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in away}
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    environment |= {"HOME": str(home), "SEEN": str(seen), "PYTHONPATH": path}

    def run(code, *before):
        command = [*before, sys.executable, "-c", code]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
        called = seen.read_text() if seen.exists() else ""
        return [str(file.relative_to(home)) for file in home.rglob("*") if file.is_file()], called

    return run


@pytest.mark.parametrize("library", WORK)
def test_a_library_that_works_for_us_calls_nobody_and_leaves_no_id(library, run_at_home):
    files, called = run_at_home(f"import foundation\n{MODEL}{WORK[library]}")
    assert called == ""
    assert files == []


def test_native_code_opens_no_connection_either(run_at_home, tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("no strace here")
    trace = tmp_path / "trace"
    code = f"import foundation\n{MODEL}{WORK['onnxruntime']}"
    run_at_home(code, "strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(trace))
    assert "AF_INET" not in trace.read_text()


def test_what_the_user_set_stays(run_at_home, monkeypatch):
    code = "import os\nos.environ['ORT_DISABLE_TELEMETRY'] = '0'\nimport foundation\n"
    run_at_home(f"{code}assert os.environ['ORT_DISABLE_TELEMETRY'] == '0'")


def test_processes_that_we_start_inherit_it():
    assert all(os.environ[name] for name in SWITCHES)

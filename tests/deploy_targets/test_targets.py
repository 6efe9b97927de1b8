"""Target profiles: shipped ones, one's own, and wrong ones."""

import re

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from deploy_targets.device import facts
from deploy_targets.targets import (
    TargetRuntime,
    detected_quantization,
    load_target,
    target_names,
)
from foundation.bundle import RuntimeRange
from foundation.errors import MissingFileError, RecipeError, UnknownNameError
from foundation.onnx_releases import highest_opset

OWN = """
description = "A board of one's own"
arch = "aarch64"
cores = 2
memory_mb = 512
features = ["asimd"]
threads = 2
precisions = ["fp32"]

[[runtimes]]
name = "openvino"
version = ">=2025.4"

[[runtimes]]
name = "onnxruntime"
version = ">=1.20,<2"

[quantization]
activation_type = "s8"
weight_type = "s8"
per_channel = true
reduce_range = false
calibration = "minmax"
"""


@pytest.fixture
def profile(tmp_path):
    """Write a profile, with one line changed, and give its path."""

    def write(old="", new="", text=OWN):
        assert old in text
        (tmp_path / "own.toml").write_text(text.replace(old, new, 1) if old else text + new)
        return str(tmp_path / "own.toml")

    return write


@pytest.mark.parametrize("name", target_names())
def test_every_shipped_profile_loads_and_names_its_sources(name):
    target = load_target(name)
    assert target.sources
    assert all(runtime.source for runtime in target.runtimes)
    assert target.onnx_opset == 20
    assert target.quantization.reason
    assert set(target.formats) <= {"onnx", "openvino"}


def test_the_shipped_names_include_the_alias():
    assert target_names() == ["local", "rpi", "rpi4", "rpi5"]


def test_an_alias_is_the_target_it_stands_for():
    assert load_target("rpi") == load_target("rpi5")
    assert load_target("rpi").name == "rpi5"


def test_a_raspberry_pi_quantises_signed_by_signed():
    for name in ("rpi4", "rpi5"):
        scheme = load_target(name).quantization
        assert (scheme.activation_type, scheme.weight_type) == ("s8", "s8")
    assert "asimddp" in load_target("rpi5").features
    assert "asimddp" not in load_target("rpi4").features


def test_local_is_filled_in_from_this_machine():
    target, found = load_target("local"), facts.collect()
    assert target.arch == found.arch
    assert target.cores == found.logical_cores
    assert target.memory_mb == found.memory_mb
    assert target.threads == found.usable_cores
    assert target.quantization == detected_quantization(found.arch, found.features or [])


@pytest.mark.parametrize(
    ("arch", "features", "activation_type", "reduce_range"),
    [
        ("x86_64", ["avx2", "avx512_vnni"], "u8", False),
        ("x86_64", ["avx2", "avx_vnni"], "u8", False),
        ("x86_64", ["avx2"], "u8", True),
        ("x86_64", ["avx2", "avx512f"], "u8", True),
        ("aarch64", ["asimd", "asimddp"], "s8", False),
    ],
)
def test_the_scheme_follows_the_instruction_set(arch, features, activation_type, reduce_range):
    scheme = detected_quantization(arch, features)
    assert scheme.activation_type == activation_type
    assert scheme.reduce_range is reduce_range
    assert "\n" not in scheme.reason


def test_an_unknown_target_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown target 'rpi6', did you mean 'rpi"):
        load_target("rpi6")


def test_a_path_is_a_target_too(profile):
    target = load_target(profile())
    assert (target.name, target.memory_mb) == ("own", 512)
    assert target.formats == ["openvino", "onnx"]


def test_a_profile_without_runtimes_is_refused(profile):
    text = re.sub(r"\[\[runtimes\]\][^\[]*", "", OWN).replace("threads", "runtimes = []\nthreads")
    with pytest.raises(RecipeError, match="key 'runtimes' must name at least one"):
        load_target(profile(text=text))


def test_each_format_has_its_runtime_with_the_versions_that_a_bundle_will_name(profile):
    target = load_target(profile())
    assert target.runtime_names == ["openvino", "onnxruntime"]
    assert target.runtime_for("onnx") == RuntimeRange("onnxruntime", "1.20", "1")
    assert target.runtime_for("openvino") == RuntimeRange("openvino", "2025.4", None)
    with pytest.raises(UnknownNameError, match=r"format of target own 'onx', did you mean 'onnx'"):
        target.runtime_for("onx")


@pytest.mark.parametrize(
    ("version", "within", "without"),
    [
        (">=1.20,<2", ["1.20", "1.20.0", "1.20.1", "1.32.0"], ["1.19.2", "2.0.0", "2"]),
        (">=1.20, <1.25", ["1.20.1", "1.24.9"], ["1.25.0", "1.26"]),
        (">=1.20.1,<1.20.3", ["1.20.2"], ["1.20.0", "1.20.3"]),
        (">=1.20,<2.0", ["1.99"], ["2.0.0"]),
        (">=2025.0", ["2025.0.0", "2030.1"], ["2024.6.0"]),
    ],
)
def test_a_version_range_takes_its_lower_end_in_and_leaves_its_upper_end_out(
    version, within, without
):
    allowed = TargetRuntime("any", version).range
    assert [v for v in [*within, *without] if allowed.allows(v)] == within


@pytest.mark.parametrize(
    ("version", "opset"),
    [(">=1.14", 18), (">=1.16.3,<2", 19), (">=1.17", 20), (">=1.20", 20), (">=1.32", 20)],
)
def test_the_operator_set_follows_from_the_oldest_onnx_runtime_up_to_what_we_export(
    profile, version, opset
):
    assert load_target(profile(">=1.20,<2", version)).onnx_opset == opset


def test_a_profile_may_say_the_operator_set_itself(profile):
    assert load_target(profile("threads", "onnx_opset = 18\nthreads")).onnx_opset == 18
    assert load_target(profile("threads", "onnx_opset = 21\nthreads")).onnx_opset == 21


def test_openvino_alone_limits_no_operator_set(profile):
    text = OWN.replace('[[runtimes]]\nname = "onnxruntime"\nversion = ">=1.20,<2"\n', "")
    target = load_target(profile(text=text))
    assert (target.formats, target.onnx_opset) == (["openvino"], 20)


def test_the_table_of_operator_sets_holds_for_the_installed_onnx_runtime():
    highest = highest_opset(onnxruntime.__version__)
    relu = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(relu, opset_imports=[helper.make_opsetid("", highest)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert session.run(None, {"x": np.array([-1], np.float32)})[0] == 0


def test_an_own_profile_may_stand_for_a_shipped_one(profile):
    assert load_target(profile(text='alias_of = "rpi4"\n')).name == "rpi4"


def test_an_own_profile_may_be_looked_up_on_this_machine_but_what_it_says_counts(profile):
    text = re.sub(r"arch.*\ncores.*\nmemory_mb.*\n", "detect = true\n", OWN)
    target = load_target(profile(text=text))
    assert target.cores == facts.collect().logical_cores
    assert target.threads == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.toml"):
        load_target(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("threads = 2", "threds = 2", "unknown key 'threds', did you mean 'threads'"),
        ("threads = 2", "", "missing key 'threads'"),
        ("threads = 2", 'threads = "two"', "key 'threads' must be a whole number"),
        ("threads = 2", "threads = 0", "key 'threads' must be at least 1"),
        ("threads = 2", "threads = ", "not a TOML file"),
        ("per_channel", "per_chanel", "did you mean 'quantization.per_channel'"),
        ('activation_type = "s8"', 'activation_type = "i8"', "must be one of u8, s8"),
        ('"fp32"', '"fp64"', "key 'precisions' must be one of"),
        ("[[runtimes]]", "[[runtime]]", "unknown key 'runtime', did you mean 'runtimes'"),
        ("version", "versoin", "unknown key 'runtimes[0].versoin', did you mean 'runtimes"),
        (">=1.20,<2", "1.20", "key 'runtimes[1].version' must be a range such as '>=1.20,<2', but"),
        (">=1.20,<2", ">=1.20,<1.20", "key 'runtimes[1].version' must leave a version, but got"),
        (">=1.20,<2", ">=1.20,<0", "key 'runtimes[1].version' must leave a version"),
        (">=1.20,<2", ">=1.13", "which does not run ONNX operator set 18"),
        ("threads", "onnx_opset = 17\nthreads", "must be from 18, the exporter's oldest, to 21"),
        ("threads", "onnx_opset = 22\nthreads", "to 21, the highest of its runtimes, but got 22"),
        ("arch", "name", "key 'name' is not for a profile"),
        ("arch", "detect = 1\narch", "key 'detect' must be true or false"),
        ("arch", 'alias_of = "rpi4"\narch', "no other key"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_file_and_key(profile, old, new, message):
    path = profile(old, new)
    with pytest.raises(RecipeError) as caught:
        load_target(path)
    assert path in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_alias_of_nothing_and_an_unknown_runtime_are_unknown_names(profile):
    with pytest.raises(UnknownNameError, match=r"own\.toml.*'rpi55', did you mean 'rpi5'"):
        load_target(profile(text='alias_of = "rpi55"\n'))
    with pytest.raises(UnknownNameError, match=r"own\.toml.*runtime 'openvin'"):
        load_target(profile('"openvino"', '"openvin"'))

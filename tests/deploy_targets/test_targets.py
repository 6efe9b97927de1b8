"""Target profiles: shipped ones, one's own, and wrong ones."""

import re
from dataclasses import replace
from statistics import median

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from deploy_targets.device import facts
from deploy_targets.targets import (
    TargetRuntime,
    detected_quantization,
    is_shipped,
    load_target,
    own_folder,
    read_target,
    shipped_names,
    target_names,
    write_target,
)
from deploy_targets.targets.detection import core_name, known_cores, this_machine
from deploy_targets.targets.profile import SOURCED
from foundation.bundle import RuntimeRange
from foundation.errors import CorruptFileError, MissingFileError, RecipeError, UnknownNameError
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
PUBLISHED = """
[[published]]
runtime = "ncnn"
precision = "fp16"
ratio = 0.5
network = "resnet18"
source = "a table"
"""


@pytest.fixture
def profile(tmp_path):
    """Write a profile, with one line changed, and give its path."""

    def write(old="", new="", text=OWN):
        assert old in text
        (tmp_path / "own.toml").write_text(text.replace(old, new, 1) if old else text + new)
        return str(tmp_path / "own.toml")

    return write


@pytest.mark.parametrize("name", shipped_names())
def test_no_fact_of_a_shipped_profile_is_without_a_source(name):
    target = load_target(name)
    assert target.unsourced() == []
    assert set(target.sources) <= set(SOURCED)
    assert target.onnx_opset == 20
    assert set(target.formats) <= {"onnx", "openvino", "ncnn", "executorch"}


def test_a_fact_without_a_source_is_found():
    target = load_target("rpi4")
    sources = {name: text for name, text in target.sources.items() if name != "clock_mhz"}
    assert replace(target, sources=sources).unsourced() == ["clock_mhz"]
    bare = replace(target, runtimes=[TargetRuntime("onnxruntime", ">=1.20")])
    assert bare.unsourced() == ["runtimes.onnxruntime"]


def test_what_others_published_of_a_core_is_the_median_of_their_networks(profile):
    target = load_target(profile(new=PUBLISHED + PUBLISHED.replace("0.5", "0.7")))
    assert target.published_ratio("ncnn", "fp16") == median([0.5, 0.7])
    assert target.published_ratio("ncnn", "int8") is None
    assert target.published_ratio("openvino", "fp16") is None
    unsaid = replace(target.published[0], source="")
    assert "published.ncnn" in replace(target, published=[unsaid]).unsourced()


def test_the_shipped_names_include_the_alias():
    assert shipped_names() == [
        "arm64-generic", "jetson-orin-cpu", "local", "n100", "rk3588", "rpi", "rpi-zero2", "rpi3",
        "rpi4", "rpi5", "x86-avx2", "x86-vnni",
    ]  # fmt: skip


@pytest.mark.parametrize("name", shipped_names())
def test_a_peak_is_lanes_by_clock_and_int8_is_never_the_slower(name):
    target = load_target(name)
    peak, twice = target.peak_gops(1), target.peak_gops(2)
    if target.clock_mhz is None:
        assert peak == {}
    else:
        assert peak["fp32"] == target.fp32_per_cycle * target.clock_mhz / 1000
        assert peak["fp32"] < peak["int8"]
        assert twice["int8"] == 2 * peak["int8"]


def test_a_core_that_is_named_brings_its_rates_unless_the_profile_says_them(profile):
    named = load_target(profile("cores", 'cpu = "Cortex-A72"\ncores'))
    assert (named.fp32_per_cycle, named.int8_per_cycle) == (8, 16)
    assert "Cortex-A72" in named.sources["fp32_per_cycle"]
    own = load_target(profile("cores", 'cpu = "Cortex-A72"\nfp32_per_cycle = 4\ncores'))
    assert (own.fp32_per_cycle, own.int8_per_cycle) == (4, 16)
    assert "fp32_per_cycle" in own.unsourced()
    assert load_target(profile("cores", 'cpu = "Cortex-A99"\ncores')).per_cycle() == {}


def test_big_cores_alone_are_used_where_there_are_little_ones():
    target = load_target("rk3588")
    assert target.pin == [4, 5, 6, 7]
    assert target.threads == len(target.pin) < target.cores


@pytest.mark.parametrize("variable", ["COMPRESS_TARGETS", "XDG_CONFIG_HOME"])
def test_a_profile_of_ones_own_is_found_by_its_name(tmp_path, monkeypatch, variable):
    monkeypatch.delenv("COMPRESS_TARGETS", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    folder = tmp_path if variable == "COMPRESS_TARGETS" else tmp_path / "compress" / "targets"
    folder.mkdir(parents=True, exist_ok=True)
    assert own_folder() == folder
    (folder / "garage-door.toml").write_text(OWN)
    (folder / "rpi4.toml").write_text(OWN)
    (folder / "door.toml").write_text('alias_of = "garage-door"\n')
    assert {"garage-door", "rpi5"} <= set(target_names())
    assert load_target("garage-door").memory_mb == 512
    assert load_target("door").name == "garage-door"
    assert load_target("rpi4").memory_mb == 512
    assert [is_shipped(name) for name in ("rpi5", "rpi", "rpi4", "garage-door", "./x.toml")] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["rk3588", "local", "x86-vnni"])
def test_a_target_that_is_kept_comes_back_as_it_was(name, tmp_path):
    target = load_target(name)
    write_target(tmp_path / "kept.json", target)
    assert read_target(tmp_path / "kept.json") == target


@pytest.mark.parametrize(
    ("old", "new"),
    [('"kind": "target"', '"kind": "pie"'), ('"arch"', '"march"'), ('"int8"', '"int9"')],
)
def test_what_is_no_kept_target_is_refused(old, new, tmp_path):
    path = tmp_path / "kept.json"
    write_target(path, load_target("rpi4"))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CorruptFileError, match=r"kept\.json: not a target"):
        read_target(path)


@pytest.mark.parametrize(
    ("cpuinfo", "core"),
    [
        ("vendor_id : AuthenticAMD\ncpu family : 26\nmodel : 2\nmodel name : AMD EPYC\n", "Zen 5"),
        ("vendor_id : AuthenticAMD\ncpu family : 25\nmodel : 17\n", "Zen 4"),
        ("vendor_id : GenuineIntel\ncpu family : 6\nmodel : 190\n", "Gracemont"),
        ("vendor_id : GenuineIntel\ncpu family : 6\nmodel : 23\n", None),
        ("CPU part : 0xd08\n", None),
        ("", None),
    ],
)
def test_an_x86_core_is_known_by_its_family_and_model(cpuinfo, core, tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert core_name(tmp_path) == core


def test_the_clock_is_the_highest_that_cpufreq_names_and_unknown_without_it(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("CPU part : 0xd08\ncpu MHz : 2596.122\n")
    assert this_machine(tmp_path)["clock_mhz"] is None
    assert this_machine(tmp_path)["cpu"] == "Cortex-A72"
    cpufreq = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    cpufreq.mkdir(parents=True)
    (cpufreq / "cpuinfo_max_freq").write_text("1500000\n")
    assert this_machine(tmp_path)["clock_mhz"] == 1500


def test_no_core_stands_for_two_families_and_models():
    lines = [line.split() for core in known_cores().values() for line in core.cpuid]
    every = [(v, f, m) for v, f, a, b in lines for m in range(int(a), int(b) + 1)]
    assert len(every) == len(set(every))


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
        (">=1.20,!=1.21.0,<2", ["1.20.1", "1.21.1", "1.22.0"], ["1.21.0", "2.0.0"]),
        (">=1.20,!=1.21,!=1.23.1", ["1.20.1", "1.22.0", "1.23.0"], ["1.21.0", "1.23.1"]),
    ],
)
def test_a_version_range_takes_its_lower_end_in_and_leaves_its_upper_end_out(
    version, within, without
):
    allowed = TargetRuntime("any", version).range
    assert not list(allowed.problems())
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
        ("", PUBLISHED.replace("0.5", "0.0"), "key 'published[0].ratio' must be above 0"),
        ("", PUBLISHED.replace("0.5", "nan"), "published[0].ratio is nan, which is no finite"),
        ("", PUBLISHED.replace("fp16", "fp8"), "key 'published[0].precision' must be one of fp32"),
        ("", PUBLISHED.replace("source", "sauce"), "unknown key 'published[0].sauce', did you"),
        ("threads = 2", "threds = 2", "unknown key 'threds', did you mean 'threads'"),
        ('arch = "aarch64"', "", "missing key 'arch'"),
        ("threads = 2", "threads = 2\nclock_mhz = 0", "key 'clock_mhz' must be above 0"),
        ("threads = 2", "threads = 2\npin = [1, 1]", "key 'pin' must name each core once"),
        ("threads = 2", "threads = 2\nsources = ['a book']", "key 'sources' must be a table"),
        ("threads = 2", 'threads = "two"', "key 'threads' must be a whole number"),
        ("threads = 2", "threads = 0", "key 'threads' must be at least 1"),
        ("threads = 2", "threads = ", "not valid TOML"),
        ("threads = 2", "threads = 2\npin = [9000]", "each core once, from 0 to 8191"),
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


@pytest.mark.parametrize("value", ["[]", "{}", "1", "true", "[['rpi4']]"])
def test_an_alias_that_is_no_name_is_told(profile, value: str) -> None:
    with pytest.raises(RecipeError, match="key 'alias_of' must be a profile's name"):
        load_target(profile(text=f"alias_of = {value}\n"))


def test_an_alias_of_nothing_and_an_unknown_runtime_are_unknown_names(profile):
    with pytest.raises(UnknownNameError, match=r"own\.toml.*'rpi55', did you mean 'rpi5'"):
        load_target(profile(text='alias_of = "rpi55"\n'))
    with pytest.raises(UnknownNameError, match=r"own\.toml.*runtime 'openvin'"):
        load_target(profile('"openvino"', '"openvin"'))
    with pytest.raises(UnknownNameError, match=r"own\.toml.*runtime 'ncn'"):
        load_target(profile(new=PUBLISHED.replace("ncnn", "ncn")))

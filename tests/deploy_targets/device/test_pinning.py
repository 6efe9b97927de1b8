"""Cores: how they are written, and which are the best."""

import pytest

from deploy_targets.device.pinning import fastest, parse_cores


@pytest.mark.parametrize(
    ("said", "cores"), [("0", [0]), ("2,0", [0, 2]), ("0-3", [0, 1, 2, 3]), ("4, 1-2,2", [1, 2, 4])]
)
def test_cores_are_numbers_and_ranges(said, cores):
    assert parse_cores(said) == cores


@pytest.mark.parametrize("said", ["", "a", "3-1", "1,,2", "-1", "1-", "0x1"])
def test_what_is_no_list_of_cores_is_quoted(said):
    with pytest.raises(ValueError, match=f"got '{said}'"):
        parse_cores(said)


@pytest.mark.parametrize("said", ["0-400000000", "8192", "0-8192", "999999999999999999"])
def test_cores_that_no_machine_has_are_refused_before_they_are_counted(said):
    with pytest.raises(ValueError, match="must name cores from 0 to 8191"):
        parse_cores(said)


@pytest.mark.parametrize("said", ["²", "0-²", "9" * 5000, "0," * 100_000])
def test_a_list_of_cores_is_bounded(said):
    with pytest.raises(ValueError, match="must be 'auto' or cores such as") as refused:
        parse_cores(said)
    assert len(str(refused.value)) < 150


def write(root, core, **files):
    names = {
        "capacity": "cpu_capacity",
        "clock": "cpufreq/cpuinfo_max_freq",
        "siblings": "topology/thread_siblings_list",
    }
    for key, text in files.items():
        path = root / f"sys/devices/system/cpu/cpu{core}" / names[key]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_of_big_and_little_cores_the_big_ones_are_taken(tmp_path):
    for core in range(8):
        write(tmp_path, core, capacity="1024" if core in {4, 5, 6, 7} else "400")
    assert fastest(range(8), 2, tmp_path) == [4, 5]
    assert fastest(range(8), 5, tmp_path) == [1, 4, 5, 6, 7]


def test_two_threads_of_one_core_are_taken_last(tmp_path):
    for core in range(4):
        write(tmp_path, core, siblings=f"{core % 2},{core % 2 + 2}", clock="3000000")
    assert fastest(range(4), 2, tmp_path) == [0, 1]
    assert fastest(range(4), 3, tmp_path) == [0, 1, 2]


def test_core_0_is_the_last_of_its_like_and_only_usable_ones_are_taken(tmp_path):
    assert fastest(range(4), 1, tmp_path) == [1]
    assert fastest([0, 3], 1, tmp_path) == [3]
    assert fastest([0], 4, tmp_path) == [0]

"""The journal: what was sent is kept, torn lines are not, and another job begins anew."""

import json

from deploy_targets.measuring.journal import Journal

JOB = {"kind": "job", "bundle": "a"}
FIRST, SECOND = {"kind": "timed", "ns": [1, 2]}, {"kind": "timed", "ns": [3]}


def filled(path, *messages):
    journal = Journal.open(path, JOB)
    for message in messages:
        journal.add(message)
    journal.close()


def reopened(path, job=JOB):
    journal = Journal.open(path, job)
    journal.close()
    return journal.messages


def test_what_was_added_is_there_when_it_is_opened_again(tmp_path):
    path = tmp_path / "bench" / "x.journal"
    filled(path, FIRST)
    filled(path, SECOND)
    assert reopened(path) == [FIRST, SECOND]


def test_each_message_is_on_the_disk_as_soon_as_it_is_added(tmp_path):
    journal = Journal.open(tmp_path / "x.journal", JOB)
    journal.add(FIRST)
    assert json.loads((tmp_path / "x.journal").read_text().splitlines()[-1]) == FIRST
    journal.close()


def test_a_line_that_was_cut_is_left_out_and_the_next_begins_on_a_line_of_its_own(tmp_path):
    path = tmp_path / "x.journal"
    filled(path, FIRST, SECOND)
    path.write_bytes(path.read_bytes()[:-5])
    filled(path, SECOND)
    assert reopened(path) == [FIRST, SECOND]


def test_another_job_begins_anew(tmp_path):
    filled(tmp_path / "x.journal", FIRST)
    assert reopened(tmp_path / "x.journal", {**JOB, "bundle": "b"}) == []
    assert reopened(tmp_path / "x.journal") == []


def test_what_means_nothing_to_another_process_is_not_kept(tmp_path):
    filled(tmp_path / "x.journal", {"kind": "progress"}, FIRST, {"kind": "error"})
    assert reopened(tmp_path / "x.journal") == [FIRST]


def test_a_file_that_is_something_else_is_begun_anew(tmp_path):
    (tmp_path / "x.journal").write_bytes(b"\xff\x00nothing")
    assert reopened(tmp_path / "x.journal") == []


def test_it_knows_when_its_job_was_begun(tmp_path):
    path = tmp_path / "x.journal"
    filled(path, FIRST)
    head, first = path.read_text().splitlines()
    path.write_text(head.replace("20", "19", 1) + f"\n{first}\n")
    journal = Journal.open(path, JOB)
    journal.close()
    assert journal.messages == [FIRST]
    assert journal.begun_at.startswith("19")


def test_with_nothing_to_go_on_with_there_is_no_file(tmp_path):
    filled(tmp_path / "x.journal", {"kind": "facts"})
    assert not (tmp_path / "x.journal").exists()


def test_without_a_path_it_is_kept_in_memory():
    journal = Journal.open(None, JOB)
    journal.add(FIRST)
    assert journal.messages == [FIRST]

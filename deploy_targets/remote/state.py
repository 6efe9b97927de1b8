"""What a device says of itself, by the very code that a measurement asks there."""

from __future__ import annotations

from typing import TypeVar

from deploy_targets.device.facts import Facts
from deploy_targets.device.messages import Conditions
from deploy_targets.hosts.answers import build_answer
from deploy_targets.remote.session import DeviceSession, Printed
from foundation.documents import parse_json
from foundation.errors import HostError

T = TypeVar("T")

_CONDITIONS = (
    "import dataclasses, json\n"
    "from deploy_targets.device.conditions import Watch\n"
    "print(json.dumps(dataclasses.asdict(Watch().now('before'))))"
)


def facts_of(session: DeviceSession, tree: str, host: str) -> Facts:
    """The machine.

    Args:
        session: with the device.
        tree: of the device side there.
        host: for messages to the user.
    """
    return _answer_of(session, tree, host, Facts, ["-m", "deploy_targets.device.facts"])


def conditions_of(session: DeviceSession, tree: str, host: str) -> Conditions:
    """The machine at this moment."""
    return _answer_of(session, tree, host, Conditions, ["-c", _CONDITIONS])


def _answer_of(
    session: DeviceSession, tree: str, host: str, record: type[T], words: list[str]
) -> T:
    output = session.ask_for(Printed, "run", tree=tree, words=words).output
    try:
        facts = parse_json(output)
    except (TypeError, ValueError) as error:
        raise HostError(f"{host}: what it says of itself is no JSON ({error})") from error
    return build_answer(record, facts, host)

"""What a host's processes answer, taken for what it is: a record, or the error it stands for."""

from __future__ import annotations

from typing import TypeVar

from deploy_targets.device.messages import Message
from deploy_targets.records import RecordError, build
from foundation.errors import CompressError, HostError

T = TypeVar("T")


def content_of(message: Message) -> Message:
    """The message without its `kind`."""
    return {key: value for key, value in message.items() if key != "kind"}


def build_answer(record: type[T], content: Message, host: str) -> T:
    """Make a record of a message's content.

    Raises:
        HostError: when it is another than this version's.
    """
    try:
        return build(record, content)
    except RecordError as error:
        raise HostError(
            f"{host}: its worker answers otherwise than this version does ({error}); "
            "install the same version there"
        ) from error


def error_of(message: Message, host: str) -> CompressError:
    """The error as the process raised it, of the kind that its exit code stands for."""
    kinds = {kind.exit_code: kind for kind in CompressError.__subclasses__()}
    kind = kinds.get(message.get("exit_code", 0), HostError)
    return kind(f"{host}: {message.get('message', 'measuring failed')}")

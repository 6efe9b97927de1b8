"""What a host's processes answer, taken for what it is: a record, or the error it stands for."""

from __future__ import annotations

from typing import TypeVar

from deploy_targets.device.messages import Message
from foundation.errors import CompressError, HostError
from foundation.records import RecordError, build

T = TypeVar("T")

STDERR = "stderr"
"""In the "error" that a process sent: what it had written to standard error, added on our side."""

# Of a message from elsewhere: ours are one line.
_LONGEST = 2000


def content_of(message: Message) -> Message:
    """The message without its `kind`."""
    return {key: value for key, value in message.items() if key != "kind"}


def build_answer(record: type[T], content: Message, host: str, kind: str = "") -> T:
    """Make a record of a message's content.

    Args:
        record: what it must be.
        content: the message, without its kind.
        host: for messages to the user.
        kind: of the message, for the same.

    Raises:
        HostError: when it is another than this version's, or says what cannot be.
    """
    try:
        return build(record, content)
    except RecordError as error:
        raise not_understood(host, f"{kind + ': ' if kind else ''}{error}") from error


def not_understood(host: str, reason: str) -> HostError:
    """The error for what no worker of this version says."""
    return HostError(
        f"{host}: its worker answers otherwise than this version does ({reason}); install the same "
        "version there, and check what answers"
    )


def error_of(message: Message, host: str) -> CompressError:
    """The error as the process raised it, of the kind that its exit code stands for."""
    kinds = {kind.exit_code: kind for kind in CompressError.__subclasses__()}
    code, words = message.get("exit_code"), message.get("message")
    kind = kinds.get(code, HostError) if isinstance(code, int) else HostError
    if not isinstance(words, str) or not words.strip():
        words = "measuring failed, and it did not say how"
    error = kind(f"{host}: {' '.join(words.split())[:_LONGEST]}")
    error.process_output = str(message.get(STDERR, ""))
    return error

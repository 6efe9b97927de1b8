"""Optuna and the database that it keeps a search in: opened, or in a line why not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundation import logs
from foundation.errors import HostError, UsageError
from foundation.words import without_password

# So long others wait for a database that is a file: they write one after the other.
_SQLITE_WAITS_S = 60
_SQLITE = "sqlite:///"
_INSTALL = "pip install 'edge-compress[search]'"


def beats_every(lost_after: int) -> int:
    """Seconds from one sign of life to the next, where so many without one mean that it is lost."""
    return max(lost_after // 4, 1)


def opened_storage(url: str, lost_after: int, on_lost: Any) -> Any:
    """Optuna's storage at a URL; its tables are made where they are not there.

    Args:
        url: sqlite:///FILE or postgresql://USER@HOST/DATABASE.
        lost_after: seconds without a sign of life after which a trial is lost.
        on_lost: called with the study and the trial.

    Raises:
        UsageError: when the database's driver is not installed.
    """
    arguments: dict[str, Any] = {}
    if url.startswith(_SQLITE):
        arguments = {"connect_args": {"timeout": _SQLITE_WAITS_S}}
        Path(url.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    else:
        _require_psycopg()
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    return require_optuna().storages.RDBStorage(
        url,
        engine_kwargs=arguments,
        heartbeat_interval=beats_every(lost_after),
        grace_period=lost_after,
        heartbeat_stale_trial_callback=on_lost,
    )


@contextmanager
def answering(url: str) -> Iterator[None]:
    """For as long as the block lasts, a database that does not answer is told of in a line.

    Raises:
        HostError: when it does not.
    """
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - comes with Optuna

    try:
        yield
    except (SQLAlchemyError, require_optuna().exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(getattr(cause, "orig", None) or cause).split())[:200]
        raise HostError(
            f"{without_password(url)}: the database of the search does not answer ({reason}); what "
            "was finished is kept, and the same command goes on"
        ) from error


def require_optuna() -> Any:
    """Optuna, which says nothing of its own accord.

    Raises:
        UsageError: when it is not installed.
    """
    try:
        import optuna  # noqa: PLC0415 - a second, and not everybody has it
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a search needs Optuna, which is not installed ({error}); {_INSTALL}"
        ) from error
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    logs.keep_quiet("optuna")
    return optuna


def _require_psycopg() -> None:
    try:
        import psycopg  # noqa: F401, PLC0415 - for those alone who have such a database
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a search in PostgreSQL needs psycopg, which is not installed ({error}); {_INSTALL}"
        ) from error

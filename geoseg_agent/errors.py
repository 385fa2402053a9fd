"""Every error a public call can raise, as one tree.

    GeoSegError
    ├── InputError               what was handed in cannot be used            exit 2
    │   ├── ImageError           bad_image
    │   ├── QueryError           bad_query
    │   └── DatasetError         bad_dataset
    ├── ConfigError              the set-up is wrong or incomplete            exit 3
    │   ├── UnknownBackend
    │   ├── MissingExtra
    │   └── WeightsMissing
    ├── InvalidReply             the model's reply broke the contract         exit 4
    ├── EndpointError            the endpoint did not deliver                 exit 4
    │   ├── EndpointRefused
    │   │   └── DialectRefused
    │   ├── EndpointTimeout
    │   └── EndpointUnavailable
    ├── ToolFailed               a local tool crashed                         exit 5
    │   └── OutOfMemory
    ├── Overloaded               refused at the door                          exit 6
    ├── DeadlineExceeded         took longer than allowed                     exit 6
    ├── BudgetExceeded           would have cost more than allowed            exit 6
    └── TraceError               a trace cannot be read, trusted or replayed  exit 7
        ├── TraceCorrupt
        ├── TraceTooNew
        ├── TraceIncomplete
        └── ReplayMismatch

`code` is stable and meant for programs, `message` names the value at fault, `hint` says what to do about it.
"""

from __future__ import annotations

from contextlib import contextmanager
from traceback import clear_frames
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator


class GeoSegError(Exception):
    """The root of the tree.

    Attributes:
        code: stable identifier of the kind of failure.
        message: one sentence that names the value at fault.
        hint: what to do about it, or None.
        retryable: whether the same call may succeed later.
        exit_code: what the command line exits with.
        trace_id: the trace the failed query left, or None.
    """

    code: ClassVar[str] = "geoseg"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.trace_id: str | None = None

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InputError(GeoSegError):
    """What was handed in cannot be used."""

    code = "bad_input"
    exit_code = 2


class ImageError(InputError):
    """The image cannot be read, or breaks a limit."""

    code = "bad_image"


class QueryError(InputError):
    """The query or a hint is malformed."""

    code = "bad_query"


class DatasetError(InputError):
    """A data set, the source of a batch, or a run over one, is malformed; the message names file, record and rule."""

    code = "bad_dataset"


class ConfigError(GeoSegError):
    """The set-up is wrong or incomplete."""

    code = "config"
    exit_code = 3


class UnknownBackend(ConfigError):
    """No backend has the name; the message lists the known ones."""


class MissingExtra(ConfigError):
    """A backend needs a package that is not installed; the hint is the command that installs it."""


class WeightsMissing(ConfigError):
    """A model's weights are not where they were looked for."""


class InvalidReply(GeoSegError):
    """A grounding reply broke the contract; the message says path, value and rule."""

    code = "invalid_reply"
    exit_code = 4


class EndpointError(GeoSegError):
    """The endpoint did not deliver."""

    code = "endpoint"
    exit_code = 4


class EndpointRefused(EndpointError):
    """The endpoint refused the request; asking again unchanged is pointless."""


class DialectRefused(EndpointRefused):
    """The endpoint cannot answer in the form that was asked for; another form may do."""


class EndpointTimeout(EndpointError):
    """The endpoint did not answer in time."""

    retryable = True


class EndpointUnavailable(EndpointError):
    """The endpoint cannot answer now: no connection, a broken one, too many requests, a fault on its side.

    Attributes:
        retry_after: seconds that the endpoint asks to wait, or None.
    """

    retryable = True

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class ToolFailed(GeoSegError):
    """A local tool crashed. Weak evidence is an answer; a crash is not, and is never papered over."""

    code = "tool"
    exit_code = 5


class OutOfMemory(ToolFailed):
    """A local tool ran out of memory."""

    code = "tool_oom"


class Overloaded(GeoSegError):
    """Refused at the door: `max_queued` queries were waiting already. Nothing was paid."""

    code = "overloaded"
    retryable = True
    exit_code = 6


class DeadlineExceeded(GeoSegError):
    """The query took longer than its deadline."""

    code = "deadline"
    retryable = True
    exit_code = 6


class BudgetExceeded(GeoSegError):
    """The next call would have cost more than the budget allows; it was not made."""

    code = "budget"
    exit_code = 6


class TraceError(GeoSegError):
    """A trace cannot be read, trusted or replayed."""

    code = "trace"
    exit_code = 7


class TraceCorrupt(TraceError):
    """The file is not a trace, or was changed since it was written; the message names step and field."""


class TraceTooNew(TraceError):
    """The trace was written by a later version."""


class TraceIncomplete(TraceError):
    """The trace was interrupted: its prefix replayed, and then it ends."""


class ReplayMismatch(TraceError):
    """The replay asked for something the trace does not hold, or came to another result."""


@contextmanager
def first_error() -> Iterator[None]:
    """Turn the ExceptionGroup of a TaskGroup into the first `GeoSegError` inside it, or the first error of any kind.

    Used at the edge of the public calls, and where a backend's tasks must fail as one; elsewhere groups stay groups.
    Whoever keeps the error keeps none of what the failed calls worked with: pictures, encodings, arrays on a device.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        let_go(group)
        leaves = leaves_of(group)
        known = next((error for error in leaves if isinstance(error, GeoSegError)), None)
        raise (known or leaves[0]) from group
    except Exception as error:
        let_go(error)
        raise


def let_go(error: BaseException) -> None:
    """Clear the local variables of every call that has ended with this error, its causes, or the errors inside it.

    They hang on the tracebacks, and with them what the calls worked with, for as long as somebody keeps the error.
    """
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        clear_frames(one.__traceback__)
        waiting += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def leaves_of(error: BaseException) -> list[BaseException]:
    """The single errors inside a group, at any depth and in its order; the error itself where it is none."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in leaves_of(part)]

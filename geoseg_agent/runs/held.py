"""The folder of a run: held by one process at a time, and gone on with only under the plan it was begun with."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, Self, TypeVar

from geoseg_agent.errors import ConfigError, DatasetError, TraceCorrupt
from geoseg_agent.runs.lines import put_file
from geoseg_agent.runs.lock import locked
from geoseg_agent.trace.ids import is_id
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.resume import paid_replies
from geoseg_agent.trace.store import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geoseg_agent.trace.model import Trace


class Plan(Protocol):
    """What a run asks for."""

    def differences(self, other: Self) -> Iterator[str]:
        """In what `other` would come to other results, one sentence each."""

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """As pydantic writes it."""


P = TypeVar("P", bound=Plan)


class Held(ABC, Generic[P]):
    """A run on disk, and the right to write it until `close`, or the end of the process. Its methods block.

    Attributes:
        NAME: file name of the plan.
        KIND: what messages call the run.
        GO_ON: what to do where the plan is another one.
        plan: the one that the run was begun with.

    Raises:
        DatasetError: of the constructor, where the folder holds the run of another plan or anything else, or another
            process is writing it.
    """

    NAME: ClassVar[str]
    KIND: ClassVar[str]
    GO_ON: ClassVar[str]

    def __init__(self, path: Path, plan: P) -> None:
        self.path = path
        self.plan = plan
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = locked(path)
        except OSError as error:
            raise DatasetError(f"{path} cannot hold a {self.KIND}: {error.strerror or error}") from error
        try:
            self._begin(plan)
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def load_plan(self) -> P:
        """The plan that is there.

        Raises:
            DatasetError: it is damaged.
        """

    @abstractmethod
    def is_bare(self) -> bool:
        """Whether nothing came of the run yet and nothing was paid: its settings may then be others."""

    def gone_on_with(self, known: P, plan: P) -> P:  # noqa: ARG002 - for those that keep something of each start
        """The plan to keep where a run goes on under `plan`, which asks the same as the `known` one."""
        return known

    def close(self) -> None:
        """Give up the right to write."""
        os.close(self._lock)

    def _begin(self, plan: P) -> None:
        try:
            if not (self.path / self.NAME).exists():
                if any(not one.name.startswith(".") for one in self.path.iterdir()):
                    raise DatasetError(
                        f"{self.path} is not empty and holds no {self.KIND}, for it has no {self.NAME}",
                        hint="name a new folder with --out",
                    )
                self._keep(plan)
                return
            known = self.load_plan()
            odd = list(known.differences(plan))
            if odd and self.is_bare():
                self._keep(plan)
                return
            if odd:
                raise DatasetError(
                    f"{self.path} holds a {self.KIND} of another plan: {'; '.join(odd[:3])}", hint=self.GO_ON
                )
            self.plan = self.gone_on_with(known, plan)
            if self.plan != known:
                self._keep(self.plan)
        except OSError as error:
            raise DatasetError(f"{self.path} cannot be read: {error.strerror or error}") from error

    def _keep(self, plan: P) -> None:
        self.plan = plan
        put_file(self.path / self.NAME, plan.model_dump_json(indent=1).encode())


def left_traces(folder: Path, is_used: Callable[[str], bool]) -> Iterator[Trace]:
    """The traces in `folder` but those used, read one by one, oldest first; journals are recovered before.

    Those from which nothing follows are left out: that end in a complaint about the settings, or were interrupted
    before a reply was paid for, perhaps by such a complaint of another.

    Raises:
        TraceError: one is damaged.
    """
    if not folder.is_dir():
        return
    recover(folder)
    for path in sorted(folder.glob("*.json")):
        if is_id(path.stem) and not is_used(path.stem):
            try:
                trace = load(path)
            except TraceCorrupt as error:
                raise TraceCorrupt(error.message, hint="move it away; it is then asked again") from error
            complains = trace.error is not None and trace.error.code == ConfigError.code
            if not complains and (trace.status != "interrupted" or paid_replies(trace)):
                yield trace

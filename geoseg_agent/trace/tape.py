"""The tape of a query that goes on: its grounding was recorded, its tools are today's.

Nothing is asked of a model again. Where the recording ends too early, that is said.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg_agent.errors import ConfigError, EndpointError, TraceError, TraceIncomplete
from geoseg_agent.settings import Settings
from geoseg_agent.trace.codec import CANCELLED
from geoseg_agent.trace.model import MODEL_SEAMS, SentInput, SentStep, Trace
from geoseg_agent.trace.store import load
from geoseg_agent.trace.tape_chat import replayed_grounder
from geoseg_agent.trace.tape_steps import Call, Tape, replayed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geoseg_agent.errors import GeoSegError
    from geoseg_agent.seams import Grounder
    from geoseg_agent.trace.model import Step

_GROUNDING = MODEL_SEAMS | {"ground"}
_BEFORE: dict[str, Any] = {"zoom_rounds": 0}
"""What a trace that is older than a setting was made with, where that is not the setting's default."""
_OF_THE_MACHINE = frozenset({"devices", "max_encoded", "sam3_checkpoint", "clip_checkpoint", "precision", "compile"})


class LiveTape(Tape):
    """A tape for a query whose tools are live; each answer comes at once.

    What a review was shown then is taken for what it would be shown now, since today's masks may differ.
    """

    def __init__(self, trace: Trace) -> None:
        super().__init__(trace)
        self._terms = 0

    async def play(self, call: Call) -> Step:
        """As `Tape.play`.

        Raises:
            TraceIncomplete: the trace was interrupted before this call had ended, and the grounding with it.
            EndpointError: the same, in a review of a result; the result stays as it is.
        """
        self._terms += call.seam == "endpoint"
        step = self.take(call)
        if self.trace.status == "interrupted":
            if step is not None and step.error is not None and step.error.code == CANCELLED:
                raise self._end(call)
            # Samples are asked side by side: what is left may be another's.
            over = call.seam == "chat" or not any(left.seam in _GROUNDING for left in self.left.values())
            if step is None and over:
                raise self._end(call)
        if step is None:
            raise self.mismatch(call)
        return await replayed(step)

    def take(self, call: Call) -> Step | None:
        """As `Tape.take`; whatever was drawn over a picture."""
        if isinstance(call.input, SentInput) and call.input.overlay is not None:
            for step in self.left.values():
                if isinstance(step, SentStep) and step.input.overlay is not None:
                    shown = call.input.model_copy(update={"overlay": step.input.overlay})
                    if shown == step.input:
                        return self.left.pop(step.index)
        return super().take(call)

    def _end(self, call: Call) -> GeoSegError:
        text = f"the trace {self.trace.id} was interrupted before this call of {call.name} had ended"
        if self._terms > 1:  # grounding asks for the terms once, and so does every review
            return EndpointError(text)
        return TraceIncomplete(text, hint="ask the model again, without the trace")


def grounder_from_trace(path: str) -> Grounder:
    """The backend `replay:FILE`: the grounding of one recorded query, to be used with other tools.

    An interrupted query can be taken up with it: replies that were paid for are taken from its trace.

    Raises:
        TraceError: the file is no trace, or was made with a prompt that is not there any more.
    """
    trace = load(Path(path))
    return replayed_grounder(LiveTape(trace), trace, recorded_settings(trace))


def recorded_settings(trace: Trace) -> Settings:
    """The settings of a trace, as far as there still are such settings; without a folder for traces.

    Which devices there are, and where weights lie, is today's machine's to say. No copies are looked at again.

    Raises:
        TraceError: a value is out of its range today.
    """
    return settings_of(trace, {**trace.settings, "traces": "none", "stability": 0})


def settings_of(trace: Trace, values: Mapping[str, Any]) -> Settings:
    """Settings of those `values` that there still are, and that are not of the machine on which the trace was made.

    Raises:
        TraceError: a value is out of its range today.
    """
    known = {name: field for name, field in Settings.model_fields.items() if name not in _OF_THE_MACHINE}
    try:
        # A setting that the trace is older than had its default then, or is among those above; the environment has
        # no say.
        then = {name: _BEFORE.get(name, field.get_default()) for name, field in known.items()}
        return Settings(**{name: values.get(name, value) for name, value in then.items()})
    except ConfigError as error:
        raise TraceError(
            f"the trace {trace.id} was made with a value that is none any more: {error.message}",
            hint="replay it with the version that made it, which stands in the trace",
        ) from error

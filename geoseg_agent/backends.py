"""Backends by name: the strings of GEOSEG_GROUNDER and GEOSEG_TOOLS to implementations.

A backend is imported only when it is chosen. Besides the built-in names, an entry point in the group
`geoseg_agent.grounders` or `geoseg_agent.toolboxes`, or `module:factory`, names a callable that takes the
`Settings` and returns a `Grounder` or `Toolbox`.
"""

from __future__ import annotations

import importlib
import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

from geoseg_agent.errors import ConfigError, MissingExtra, UnknownBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from geoseg_agent.grounding.chat import Endpoint
    from geoseg_agent.seams import Grounder, Toolbox
    from geoseg_agent.settings import Settings

GROUNDERS = ("auto", "classical", "openai", "scripted:FILE", "replay:FILE")
TOOLBOXES = ("classical", "models")
MOST_LANES = 4  # the classical tools are bound by memory bandwidth beyond a few threads


def grounder_of(settings: Settings) -> Grounder:
    """The grounding backend that the settings name.

    Raises:
        UnknownBackend: no backend has the name.
        MissingExtra: it needs a package that is not installed.
        ConfigError: it cannot be built as configured.
    """
    name, _, argument = settings.grounder.partition(":")
    if asks_model(settings):
        return mllm_grounder(settings, model_endpoint(settings))
    if settings.grounder in {"auto", "classical"}:
        from geoseg_agent.grounding.classical import ClassicalGrounder  # noqa: PLC0415 - only when chosen

        return ClassicalGrounder(_lanes())
    if name == "scripted":
        from geoseg_agent.grounding.scripted import ScriptedGrounder  # noqa: PLC0415 - only when chosen

        return ScriptedGrounder(argument)
    if name == "replay":
        from geoseg_agent.trace.tape import grounder_from_trace  # noqa: PLC0415 - only when chosen

        return grounder_from_trace(argument)
    found = _foreign("geoseg_agent.grounders", settings.grounder, GROUNDERS, "GEOSEG_GROUNDER")
    return cast("Grounder", _made(found, settings, settings.grounder, needs=("engine", "ground", "aclose")))


def asks_model(settings: Settings) -> bool:
    """Whether the grounder that the settings name asks a multimodal model at an endpoint."""
    return settings.grounder == "openai" or (settings.grounder == "auto" and settings.base_url is not None)


def model_endpoint(settings: Settings) -> Endpoint:
    """The endpoint that the settings name.

    Raises:
        ConfigError: none is set, or its key cannot be sent.
    """
    from geoseg_agent.grounding.endpoint.openai_chat import OpenAIEndpoint  # noqa: PLC0415 - only when chosen

    return OpenAIEndpoint(settings)


def mllm_grounder(settings: Settings, endpoint: Endpoint) -> Grounder:
    """The grounder that asks a model at the endpoint, which is closed with it, as the settings say."""
    from geoseg_agent.grounding.cache import FileCache  # noqa: PLC0415 - only when chosen
    from geoseg_agent.grounding.mllm import Asking, MllmGrounder  # noqa: PLC0415
    from geoseg_agent.grounding.picture.sent_image import SentImages  # noqa: PLC0415
    from geoseg_agent.trace.record_chat import (  # noqa: PLC0415
        RecordingCache,
        RecordingEndpoint,
        RecordingPictures,
    )

    return MllmGrounder(
        RecordingEndpoint(endpoint),
        RecordingPictures(SentImages()),
        None if settings.cache is None else RecordingCache(FileCache(settings.cache)),
        Asking.of(settings),
    )


def searching(grounder: Grounder, settings: Settings) -> Grounder:
    """The grounder, made to look through images in windows where the settings say so and it can be."""
    if settings.search == "overview" or getattr(grounder, "whole_only", False):
        return grounder
    from geoseg_agent.grounding.search.grounder import SearchGrounder  # noqa: PLC0415 - only when chosen
    from geoseg_agent.grounding.search.planner import LocalPlanner, Planner  # noqa: PLC0415
    from geoseg_agent.trace.record_chat import RecordingPlanner  # noqa: PLC0415

    planner: Planner = LocalPlanner(grounder, settings)
    # Of a grounder that is one step in a trace, the plan is part of that step.
    if getattr(grounder, "traced_inside", False):
        planner = RecordingPlanner(planner)
    return SearchGrounder(grounder, planner, settings.max_targets)


def toolbox_of(settings: Settings) -> Toolbox:
    """The toolset that the settings name.

    Raises:
        UnknownBackend: no toolset has the name.
        MissingExtra: it needs a package that is not installed.
        ConfigError: it cannot be built as configured.
    """
    if settings.tools == "classical":
        from geoseg_agent.toolbox import LocalToolbox, Makers  # noqa: PLC0415 - only when chosen
        from geoseg_tools.classical import TOOL_DEFAULTS, ClassicalTools  # noqa: PLC0415 - loads OpenCV
        from geoseg_tools.classical.features import WORKING_SIDE  # noqa: PLC0415 - as above
        from geoseg_tools.classical.tables import prepare  # noqa: PLC0415 - as above

        prepare()
        return LocalToolbox(
            "offline-baseline",
            [Makers(ClassicalTools, ClassicalTools)] * _lanes(),
            defaults=TOOL_DEFAULTS,
            max_encoded=settings.max_encoded,
            working_side=WORKING_SIDE,
        )
    if settings.tools == "models":
        from geoseg_agent.models import models_toolbox  # noqa: PLC0415 - only when chosen

        return models_toolbox(settings)
    found = _foreign("geoseg_agent.toolboxes", settings.tools, TOOLBOXES, "GEOSEG_TOOLS")
    needs = ("engine", "defaults", "weights", "encode", "similarity", "from_points", "from_text", "aclose")
    return cast("Toolbox", _made(found, settings, settings.tools, needs=needs))


def engine_name(grounder: str, tools: str) -> str:
    """What a result is labelled with: one name where stage 1 and the tools are of one kind, else both."""
    return tools if grounder == tools else f"{grounder}+{tools}"


def _lanes() -> int:
    return min(MOST_LANES, os.cpu_count() or 1)


def _foreign(group: str, name: str, built_in: tuple[str, ...], variable: str) -> Callable[[Settings], Any]:
    points = {point.name: point for point in entry_points(group=group)}
    module, colon, attribute = name.partition(":")
    try:
        if name in points:
            return cast("Callable[[Settings], Any]", points[name].load())
        if colon and module and attribute:
            return cast("Callable[[Settings], Any]", getattr(importlib.import_module(module), attribute))
    except ModuleNotFoundError as error:
        if error.name and error.name != module:
            raise MissingExtra(
                f"backend {name!r} needs the package {error.name!r}", hint=f"pip install {error.name}"
            ) from error
        raise UnknownBackend(f"{variable}={name!r}: there is no module {module!r}") from error
    except AttributeError as error:
        raise UnknownBackend(f"{variable}={name!r}: module {module!r} has no {attribute!r}") from error
    known = ", ".join([*built_in, *sorted(points), "module:factory"])
    raise UnknownBackend(f"{variable}={name!r} names no backend", hint=f"known are {known}")


def _made(factory: Callable[[Settings], Any], settings: Settings, name: str, *, needs: tuple[str, ...]) -> object:
    backend = factory(settings)
    missing = [attribute for attribute in needs if not hasattr(backend, attribute)]
    if missing:
        raise ConfigError(f"backend {name!r} gave {type(backend).__name__}, which lacks {', '.join(missing)}")
    return backend

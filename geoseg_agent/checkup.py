"""What `geoseg doctor models` finds: devices, weights, whether the models do what they must, and how long."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_agent.backends import toolbox_of
from geoseg_agent.doctor import Finding
from geoseg_agent.errors import GeoSegError, first_error
from geoseg_agent.guard import GuardedToolbox, faults
from geoseg_agent.imagery import Image
from geoseg_agent.models import EXTRA
from geoseg_agent.toolbox import LocalToolbox
from geoseg_agent.versions import versions
from geoseg_tools.geometry import Box, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from geoseg_agent.seams import Toolbox
    from geoseg_agent.settings import Settings
    from geoseg_tools.arrays import Rgb
    from geoseg_tools.crop import Crop
    from geoseg_tools.masks import Masks

CLASS_TOKEN = 1e-4
"""Largest difference between the class token of the surgered encoder and the plain one, float32."""

_PACKAGES = ("torch", "torchvision", "sam3", "open_clip_torch")
_PHRASE, _OTHER = "lake", "field"
_STEPS = 3  # load, test, time
_MIB = 1 << 20


class Stage(NamedTuple):
    """One thing that was timed.

    Attributes:
        name: what was done.
        seconds: how long it took, waiting for a lane included.
        detail: what came of it.
    """

    name: str
    seconds: float
    detail: str


class Checkup(NamedTuple):
    """The report.

    Attributes:
        findings: what was looked at; none is broken where the models can be used.
        stages: what was timed, in order; empty where nothing could be loaded.
    """

    findings: list[Finding]
    stages: list[Stage]


async def examine_models(settings: Settings, told: Callable[[int, int], None]) -> Checkup:
    """Load the models of the settings, let them test themselves, and time each stage on a drawn scene.

    Args:
        settings: with `tools` models, or a toolset of one's own, of which only the stages are timed.
        told: is given how many of how many steps are done, for those who wait.
    """
    ours = settings.tools == "models"
    findings = [*_packages(), *_weights(settings)] if ours else []
    stages: list[Stage] = []
    try:
        async with _opened(settings) as (tools, guarded):
            if ours:
                with faults("naming the devices"):
                    findings += _devices(settings)
            told(0, _STEPS)
            began = perf_counter()
            await guarded.warm_up()
            stages.append(Stage("load", perf_counter() - began, "every model, on every device"))
            findings += [Finding(f"sha256 {name}", "ready", digest) for name, digest in guarded.weights.items()]
            told(1, _STEPS)
            with faults("testing the models"):
                findings += [finding async for finding in _self_tests(tools)]
            told(2, _STEPS)
            stages += [stage async for stage in _timed(guarded)]
            if ours:
                findings += _peaks(settings)
    except GeoSegError as error:
        findings.append(Finding("tools", "broken", error.message, error.hint or ""))
    return Checkup(findings, stages)


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Toolbox, GuardedToolbox]]:
    tools = toolbox_of(settings)
    try:
        yield tools, GuardedToolbox(tools)
    finally:
        await tools.aclose()


def _packages() -> Iterator[Finding]:
    known = versions()
    for name in _PACKAGES:
        if name in known:
            yield Finding(name, "ready", known[name])
        else:
            yield Finding(name, "missing", "not installed", EXTRA)


def _weights(settings: Settings) -> Iterator[Finding]:
    """Which files were named; what the hub's cache holds is only known to its client, when it is asked."""
    for part, path, hub in (
        (
            "clip weights",
            settings.clip_checkpoint,
            f"no file is named: {settings.clip_model}, from the hub or its cache",
        ),
        (
            "sam3 weights",
            settings.sam3_checkpoint,
            "no file is named: facebook/sam3, from the hub (gated) or its cache",
        ),
    ):
        variable = f"GEOSEG_{part.split()[0].upper()}_CHECKPOINT"
        if path is None:
            yield Finding(part, "ready", hub)
        elif path.expanduser().is_file():
            yield Finding(part, "ready", f"{path}, {path.expanduser().stat().st_size / _MIB:.0f} MiB")
        else:
            yield Finding(part, "broken", f"{path} is not there", f"set {variable} to the file")


def _devices(settings: Settings) -> Iterator[Finding]:
    from geoseg_tools import devices  # noqa: PLC0415 - loads torch

    for name in dict.fromkeys(settings.devices or ("auto",)):
        device = devices.device_of(name)
        free, total = devices.memory_of(device)
        yield Finding(
            f"device {device}",
            "ready",
            f"{devices.name_of(device)}, {free / _MIB:,.0f} of {total / _MIB:,.0f} MiB free; "
            f"this machine has {', '.join(devices.available())}",
        )


def _peaks(settings: Settings) -> Iterator[Finding]:
    from geoseg_tools import devices  # noqa: PLC0415 - loads torch

    for name in dict.fromkeys(settings.devices or ("auto",)):
        device = devices.device_of(name)
        yield Finding(f"peak memory {device}", "ready", f"{devices.peak_of(device) / _MIB:,.0f} MiB so far")


async def _self_tests(tools: Toolbox) -> AsyncIterator[Finding]:
    """What the instances say of themselves; a toolset of somebody else's says nothing."""
    if not isinstance(tools, LocalToolbox):
        return
    crop = _crop(_scene())
    for off in await tools.each(lambda tool: tool.self_test(crop.pixels) if hasattr(tool, "self_test") else None):
        if off is not None:
            detail = f"off by {off:.1e} from the plain encoder, {CLASS_TOKEN:g} allowed"
            yield _judged("class token", off <= CLASS_TOKEN, detail, "another GEOSEG_CLIP_MODEL")
    for passes in await tools.each(lambda tool: tool.count_passes(crop) if hasattr(tool, "count_passes") else None):
        if passes is not None:
            detail = f"the image encoder ran {passes} x for a phrase and a point"
            yield _judged("one encode", passes == 1, detail, "report it: this version of sam3 works another way")


def _judged(part: str, passed: bool, detail: str, remedy: str) -> Finding:
    return Finding(part, "ready", detail) if passed else Finding(part, "broken", detail, remedy)


async def _timed(tools: GuardedToolbox) -> AsyncIterator[Stage]:
    image = _scene()
    crop, again = _crop(image), _crop(image, margin=1)
    points, positive = np.array([[crop.size[1] // 2, crop.size[0] // 2]]), np.array([True])

    def since(name: str, began: float, detail: str) -> Stage:
        return Stage(name, perf_counter() - began, detail)

    for name, phrase in (
        ("similarity, first", _PHRASE),
        ("similarity, another phrase", _OTHER),
        ("similarity, known", _PHRASE),
    ):
        began = perf_counter()
        heat = await tools.similarity(crop, phrase)
        yield since(name, began, f"{heat.shape[1]} x {heat.shape[0]} cells, {heat.min():.3f} to {heat.max():.3f}")
    began = perf_counter()
    async with tools.encode(crop) as handle:
        yield since("encode", began, f"a crop of {crop.size[1]} x {crop.size[0]} px")
        began = perf_counter()
        yield since("text", began, _counted(await tools.from_text(handle, _PHRASE)))
        began = perf_counter()
        yield since("points", began, _counted(await tools.from_points(handle, points, positive)))
    began = perf_counter()
    with first_error():
        async with asyncio.TaskGroup() as beside:
            beside.create_task(tools.similarity(again, _PHRASE))
            async with tools.encode(again) as handle:
                await tools.from_text(handle, _PHRASE)
                await tools.from_points(handle, points, positive)
    yield since("one target, both routes", began, "similarity beside encode, then both prompts")


def _counted(masks: Masks) -> str:
    count = len(masks)
    best = "" if masks.scores is None or not count else f", best score {masks.scores.max():.2f}"
    return f"{count} mask{'' if count == 1 else 's'}{best}"


def _scene() -> Image:
    from geoseg_agent.samples import scene  # noqa: PLC0415 - draws, and --help does not

    drawn: Rgb = scene(7).pixels
    return Image.from_array(drawn, name="lakeside")


def _crop(image: Image, margin: int = 0) -> Crop:
    frame = whole(image.size)
    roi = Box(margin, margin, frame.x2 - margin, frame.y2 - margin)
    return image.crop(roi, roi)

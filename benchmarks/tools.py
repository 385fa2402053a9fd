"""The models in this project's order of work against the published order, on the same random weights, in one run.

    PYTHONPATH=tests/support python benchmarks/tools.py                    small models, a minute
    PYTHONPATH=tests/support python benchmarks/tools.py --full             the released size on the CPU: a quarter hour
    PYTHONPATH=tests/support python benchmarks/tools.py --device cuda:0    the released size on a GPU

tests/support holds the small models, and what lets torchvision be imported beside a torch without CUDA; on a GPU it
is not needed.

This project encodes a crop once for both routes, with CLIP Surgery beside it; the published order (see
`reference_flow.py`) writes the crop into a PNG file and lets SAM3 read and encode it for each route, one thing after
the other. Both run in this process over one set of weights, take turns, and get the same crops and phrases; the masks
must be the same. Speeds are medians of the ratio within a pair, so that what else the machine does matters less.

"new" phrases are seen for the first time by both; "known" ones were asked before. Each side keeps what it keeps:
both remember CLIP's text features, only this project those of SAM3. A crop is always new to both.

Latency is a whole query, from `Agent.segment` called to answered, over what its own stages allow: the longer of encode
and similarity, and points, and text, as they took on their lanes in that query, side by side as they ran.

Exits 1 where the masks differ, a crop was encoded more than once, or a bound is broken. The weights are random: this
says what the order of work is worth, never how good a mask is.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from geoseg_agent import Agent, Hints, Image, Settings
from geoseg_agent.models import toolbox_over
from geoseg_agent.samples import scene
from geoseg_agent.toolbox import Makers
from geoseg_tools import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_flow import Answer, Models, Passes, Reference, Span

THRESHOLD = 0.5
LATENCY = 1.1  # a query over what its stages allow
RATIO = {"small": 1.0, "full": 0.6, "cuda": 1.0}  # a query over the published order's
ALIKE = 0.99  # IoU wanted on a GPU, where a kernel need not round twice the same; elsewhere the masks are equal
ROWS = ("encode", "similarity", "points", "text", "query")
POLICIES = ("new", "known")
MIB = 1 << 20


class Pair(NamedTuple):
    """One query, by this project and in the published order; each with its seconds by stage."""

    ours: Answer
    reference: Answer


class Ours:
    """An Agent over the models, whose tools are watched."""

    def __init__(self, models: Models) -> None:
        from reference_flow import Watched  # noqa: PLC0415 - loads torch, which --help does not need

        self.spans: list[Span] = []
        self.device = models.device
        settings = Settings(traces="none", deadline=86_400.0, text_threshold=THRESHOLD, tools="models")
        makers = Makers(
            lambda: Watched(models.matcher(), models.device, self.spans),
            lambda: Watched(models.segmenter(THRESHOLD), models.device, self.spans),
        )
        self.agent = Agent(settings, toolbox=toolbox_over(settings, [makers]))

    async def query(self, image: Image, box: Box, phrase: str) -> Answer:
        from reference_flow import Answer  # noqa: PLC0415 - as above

        self.spans.clear()
        began = time.perf_counter()
        found = await self.agent.segment(image, phrase, hints=Hints(box=box, phrase=phrase))
        seconds = {"query": time.perf_counter() - began}
        seconds |= {span.stage: span.ended - span.began for span in self.spans}
        masks = {span.stage: span.masks for span in self.spans if span.masks is not None}
        return Answer(
            masks["points"].union(), masks["text"].union(), found.targets[0].mask, len(masks["text"]), seconds
        )


def boxes(size: tuple[int, int], side: int) -> Iterator[Box]:
    """Boxes of one size, none like another, all over the image."""
    height, width = size
    rng = np.random.default_rng(7)
    known = set()
    while True:
        x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        if (x, y) not in known:
            known.add((x, y))
            yield Box(x, y, x + side, y + side)


async def paired(
    ours: Ours, reference: Reference, passes: Passes, image: Image, places: Iterator[Box], phrases: list[str]
) -> tuple[list[Pair], dict[str, Any]]:
    """A pair for each phrase, the two taking turns in going first; and how often SAM3 encoded, and the memory."""
    from reference_flow import forget_peak, peak_mib  # noqa: PLC0415 - as above

    from geoseg_agent.lanes import Lane  # noqa: PLC0415 - beside its use

    pairs, encoded, peaks = [], {"ours": 0, "reference": 0}, {"ours": 0.0, "reference": 0.0}
    lane = Lane("reference")
    for number, (box, phrase) in enumerate(zip(places, phrases, strict=False)):
        answers: dict[str, Answer] = {}
        for who in ("ours", "reference") if number % 2 == 0 else ("reference", "ours"):
            forget_peak(ours.device)
            passes.taken()
            if who == "ours":
                answers[who] = await ours.query(image, box, phrase)
            else:
                answers[who] = await lane.run(reference.query, image, box, phrase)
            encoded[who] += passes.taken()
            peaks[who] = max(peaks[who], peak_mib(ours.device))
        pairs.append(Pair(**answers))
    lane.close()
    return pairs, {"passes": encoded, "peak MiB": peaks}


def compared(pairs: list[Pair], more: dict[str, Any]) -> dict[str, Any]:
    """The figures of one policy."""
    stages = {}
    for row in ROWS:
        mine = [pair.ours.seconds[row] for pair in pairs]
        theirs = [pair.reference.seconds[row] for pair in pairs]
        ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
        stages[row] = {"ours": median(mine), "reference": median(theirs), "ratio": spread(ratios)}
    return {
        **more,
        "pairs": len(pairs),
        "stages": stages,
        "file": median(pair.reference.seconds["file"] for pair in pairs),
        "latency": spread([latency(pair.ours.seconds) for pair in pairs]),
        "unlike pixels": sum(unlike(pair) for pair in pairs),
        "worst IoU": min(iou(pair.ours.mask, pair.reference.mask) for pair in pairs),
        "instances": median(pair.ours.found for pair in pairs),
        "share of the crop": [
            round(median(float(mask.mean()) for mask in masks), 3)
            for masks in zip(*((pair.ours.points, pair.ours.text, pair.ours.mask) for pair in pairs), strict=True)
        ],
    }


def latency(seconds: dict[str, float]) -> float:
    """A query over what its own stages allow."""
    allowed = max(seconds["encode"], seconds["similarity"]) + seconds["points"] + seconds["text"]
    return seconds["query"] / allowed


def unlike(pair: Pair) -> int:
    """Pixels in which the two differ, over the masks of both routes and the result."""
    of = zip(pair.ours[:3], pair.reference[:3], strict=True)
    return sum(int(np.count_nonzero(one != other)) for one, other in of)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    either = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / either) if either else 1.0


def spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "least": min(values), "most": max(values)}


async def crowd(ours: Ours, passes: Passes, image: Image, where: list[Box], phrase: str) -> dict[str, Any]:
    """Queries at once, one for each box, of a phrase that is known."""
    from reference_flow import forget_peak, peak_mib  # noqa: PLC0415 - as above

    forget_peak(ours.device)
    passes.taken()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as together:
        for box in where:
            together.create_task(ours.agent.segment(image, phrase, hints=Hints(box=box, phrase=phrase)))
    seconds = time.perf_counter() - began
    return {
        "queries": len(where),
        "crops": len({tuple(box) for box in where}),
        "passes": passes.taken(),
        "queries a second": len(where) / seconds,
        "peak MiB": peak_mib(ours.device),
    }


async def measured(models: Models, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one set of models."""
    import torch  # noqa: PLC0415 - as above
    from reference_flow import Passes, Reference, ceiling, cost  # noqa: PLC0415 - as above

    is_small = models.name == "small"
    image = Image.from_array(scene(7, (512, 512) if is_small else (1024, 1024)).pixels, name="drawn")
    places = boxes(image.size, 160 if is_small else 400)
    side = 1024 if is_small else 4096 if models.device.type == "cuda" else 2048
    kinds = (torch.float32, torch.bfloat16) if models.device.type == "cuda" else (torch.float32,)
    figures: dict[str, Any] = {"models": models.name, "threads": torch.get_num_threads()}
    first = next(places)
    counted = cost(models, image.crop(first), THRESHOLD)
    figures["operations"], figures["encoding MB"] = counted.operations, counted.encoding / 1e6
    figures["ceiling"] = {str(kind).removeprefix("torch."): ceiling(models.device, kind, side) for kind in kinds}
    passes = Passes(models)
    ours = Ours(models)
    with tempfile.TemporaryDirectory() as folder:
        reference = Reference(models, ours.agent.method, Path(folder), THRESHOLD)
        await ours.agent.warm_up()
        phrases = {
            "new": [f"building number {number}" for number in range(options.pairs)],
            "known": ["building number 0"] * options.pairs,  # asked first of all, by both
        }
        for policy in POLICIES:
            pairs, more = await paired(ours, reference, passes, image, places, phrases[policy])
            figures[policy] = compared(pairs, more)
    figures["crowds"] = []
    for count in options.at_once:
        for where in ([next(places) for _ in range(count)], [next(places)] * count):
            figures["crowds"].append(await crowd(ours, passes, image, where, phrases["known"][0]))
    await ours.agent.aclose()
    return figures


def broken(figures: dict[str, Any], mode: str) -> list[str]:
    """What must be so and is not, one line each."""
    found = []
    for policy in POLICIES:
        one, name = figures[policy], f"{figures['models']}, {policy} phrases"
        count, passes = one["pairs"], one["passes"]
        if mode == "cuda" and one["worst IoU"] < ALIKE:
            found.append(f"{name}: masks alike to an IoU of {one['worst IoU']:.4f}, {ALIKE} wanted")
        if mode != "cuda" and one["unlike pixels"]:
            found.append(f"{name}: the masks differ in {one['unlike pixels']} pixels, 0 wanted")
        if passes != {"ours": count, "reference": 2 * count}:
            found.append(f"{name}: {passes} backbone passes for {count} crops, one and two a crop wanted")
        ratio, late = one["stages"]["query"]["ratio"]["median"], one["latency"]["median"]
        if ratio > RATIO[mode]:
            found.append(f"{name}: {ratio:.3f} of the published order's time, {RATIO[mode]} allowed")
        if late > LATENCY:
            found.append(f"{name}: latency {late:.3f} of its own stages, {LATENCY} allowed")
    for one in figures["crowds"]:
        if one["passes"] != one["crops"]:
            found.append(f"{one['queries']} at once: {one['passes']} backbone passes for {one['crops']} crops")
    return found


def show(figures: dict[str, Any], console: Console) -> None:
    ceilings = figures["ceiling"]
    known = ", ".join(f"{value / 1e9:,.0f} GFLOP/s in {kind}" for kind, value in ceilings.items())
    console.print(
        f"\n[bold]{figures['models']}[/bold], {figures['threads']} threads; a large product reaches {known}"
    )
    console.print(f"one encoding holds {figures['encoding MB']:.1f} MB")
    for policy in POLICIES:
        one = figures[policy]
        title = f"{policy} phrases, {one['pairs']} pairs: seconds, medians; ratio with least and most"
        table = Table("stage", "ours", "published order", "ratio", "", title=title, title_justify="left")
        for row, values in one["stages"].items():
            ratio = values["ratio"]
            span = f"{ratio['least']:.3f} .. {ratio['most']:.3f}"
            table.add_row(row, f"{values['ours']:.4f}", f"{values['reference']:.4f}", f"{ratio['median']:.3f}", span)
        console.print(table)
        late, passes, peaks = one["latency"], one["passes"], one["peak MiB"]
        shares = ", ".join(f"{share:.2f}" for share in one["share of the crop"])
        console.print(
            f"  latency / own stages {late['median']:.3f} ({late['least']:.3f} .. {late['most']:.3f})\n"
            f"  unlike pixels {one['unlike pixels']}; instances {one['instances']:.0f}; "
            f"points, text, both cover {shares} of the crop\n"
            f"  backbone passes {passes['ours']} ours, {passes['reference']} in the published order; "
            f"peak MiB {peaks['ours']:,.0f} and {peaks['reference']:,.0f}; PNG {one['file']:.4f} s"
        )
    show_operations(figures, console)
    if figures["crowds"]:
        table = Table("at once", "crops", "backbone passes", "queries a second", "peak MiB", title_justify="left")
        table.title = "queries at once, of a known phrase"
        for one in figures["crowds"]:
            row = (one["queries"], one["crops"], one["passes"])
            table.add_row(*map(str, row), f"{one['queries a second']:.2f}", f"{one['peak MiB']:,.0f}")
        console.print(table)


def show_operations(figures: dict[str, Any], console: Console) -> None:
    """What each stage computes, and how near it comes to what the device can do; by the published order's times."""
    ceilings = figures["ceiling"]
    title = "operations of a new phrase and crop, by the times of the published order, where nothing runs beside"
    table = Table("stage", "GFLOP", "GFLOP/s", *(f"of {kind}" for kind in ceilings), title=title)
    table.title_justify = "left"
    for stage, count in figures["operations"].items():
        # The published order encodes twice, and its `encode` is the sum.
        each = figures["new"]["stages"][stage]["reference"] / (2 if stage == "encode" else 1)
        shares = [f"{count / each / value:.0%}" for value in ceilings.values()]
        table.add_row(stage, f"{count / 1e9:,.2f}", f"{count / each / 1e9:,.1f}", *shares)
    console.print(table)


def all_models(options: argparse.Namespace) -> Iterator[Models]:
    import torch  # noqa: PLC0415 - as above
    from reference_flow import full, small  # noqa: PLC0415 - as above

    if options.mode == "small":
        yield small()
    elif options.mode == "full":
        yield full(torch.device("cpu"), half=False, compiled=False)
    else:
        device = torch.device(options.device)
        yield full(device, half=True, compiled=False)
        yield full(device, half=False, compiled=False)
        if options.compile:
            yield full(device, half=True, compiled=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="small models on the CPU; the default")
    size.add_argument("--full", action="store_true", help="the released size on the CPU")
    size.add_argument("--device", metavar="cuda:N", help="the released size on a GPU, in bfloat16 and in float32")
    parser.add_argument("--compile", action="store_true", help="with --device: compiled too, which takes minutes")
    parser.add_argument("--pairs", type=int, help="of each kind of phrase; 15 by default, 1 with --full")
    parser.add_argument(
        "--at-once", help="numbers of queries at once; 1,4,16 by default, none with --full: 16 are half an hour there"
    )
    parser.add_argument("--threads", type=int, help="torch's threads; left alone by default (small models: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure to this file")
    options = parser.parse_args()
    options.mode = "full" if options.full else "cuda" if options.device else "small"
    if options.compile and options.mode != "cuda":
        parser.error("--compile goes with --device")
    options.pairs = options.pairs or (1 if options.full else 15)
    given = options.at_once if options.at_once is not None else "" if options.full else "1,4,16"
    options.at_once = [int(number) for number in given.split(",") if number]
    if options.mode == "cuda":
        check_device(parser, options.device)
    return options


def check_device(parser: argparse.ArgumentParser, name: str) -> None:
    from geoseg_tools import DeviceError, devices  # noqa: PLC0415 - as above

    try:
        device = devices.device_of(name)
    except DeviceError as error:
        parser.error(f"{error}; {error.hint}")
    if device.type != "cuda":
        parser.error(f"--device takes a CUDA device, got {name}; without it the benchmark runs on the CPU")


def main() -> int:
    options = parsed()
    import torch  # noqa: PLC0415 - as above

    console = Console(width=118)
    results, missed = [], []
    for models in all_models(options):
        if options.threads:
            torch.set_num_threads(options.threads)
        figures = asyncio.run(measured(models, options))
        show(figures, console)
        results.append(figures)
        missed += broken(figures, options.mode)
        del models
        gc.collect()
    console.print("\n" + ("\n".join(missed) or "everything that must be so is so"))
    if options.json:
        report = {"load": os.getloadavg(), "cores": os.cpu_count(), "results": results, "broken": missed}
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())

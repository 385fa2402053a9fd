"""The models in this project's order of work against the published order, on the same random weights, in one run.

    PYTHONPATH=tests/support python benchmarks/tools.py                   small models, a minute
    PYTHONPATH=tests/support python benchmarks/tools.py --full            the released size on the CPU, a quarter hour
    PYTHONPATH=tests/support python benchmarks/tools.py --device cuda:0   the released size on a GPU

tests/support holds the small models, and what lets torchvision be imported beside a torch without CUDA; on a GPU it
is not needed.

This project encodes a crop once for both routes, with CLIP Surgery beside it; the published order (see
`reference_flow.py`) writes the crop into a PNG file and lets SAM3 read and encode it for each route, one thing after
the other. Both run in this process over one set of weights, take turns, and get the same crops and phrases; the masks
must be the same. Speeds are medians of the ratio within a pair, so that what else the machine does matters less.

"new" phrases are seen for the first time by both; "known" ones were asked before. Each side keeps what it keeps:
both remember CLIP's text features, only this project those of SAM3. A crop is always new to both.

Latency is what the tools of one query took, from the first that began to the last that ended, over what their stages
allow: the longer of encode and similarity, and points, and text, as they took on their lanes in that same query, side
by side as they ran.

Exits 1 where the masks differ, a crop was encoded more than once, or a bound is broken. The weights are random: this
says what the order of work is worth, never how good a mask is.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

LATENCY = 1.1  # the tools of a query over what their stages allow
RATIO = {"small": 1.0, "full": 0.6, "cuda": 1.0}  # a query over the published order's
ALIKE = 0.99  # IoU wanted on a GPU, where a kernel need not round twice the same; elsewhere the masks are equal
POLICIES = ("new", "known")
NEEDS = "this needs pip install 'geoseg-agent[models]', and the folder tests/support on PYTHONPATH"


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
    crowds = [one for one in figures["crowds"] if one["passes"] != one["crops"]]
    return found + [f"{one['queries']} at once: {one['passes']} passes for {one['crops']} crops" for one in crowds]


def show(figures: dict[str, Any], console: Console) -> None:
    known = ", ".join(f"{value / 1e9:,.0f} GFLOP/s in {kind}" for kind, value in figures["ceiling"].items())
    console.print(
        f"\n[bold]{figures['models']}[/bold], {figures['threads']} threads; a large product reaches {known}"
    )
    console.print(f"one encoding holds {figures['encoding MB']:.1f} MB")
    for policy in POLICIES:
        show_policy(policy, figures[policy], console)
    show_operations(figures, console)
    if figures["crowds"]:
        table = Table("at once", "crops", "backbone passes", "queries a second", "peak MiB")
        for one in figures["crowds"]:
            row = (one["queries"], one["crops"], one["passes"])
            table.add_row(*map(str, row), f"{one['queries a second']:.2f}", f"{one['peak MiB']:,.0f}")
        console.print("\nqueries at once, of a known phrase", table, sep="\n")


def show_policy(policy: str, one: dict[str, Any], console: Console) -> None:
    table = Table("stage", "ours", "published order", "ratio", "least .. most")
    for row, values in one["stages"].items():
        ratio = values["ratio"]
        span = f"{ratio['least']:.3f} .. {ratio['most']:.3f}"
        table.add_row(row, f"{values['ours']:.4f}", f"{values['reference']:.4f}", f"{ratio['median']:.3f}", span)
    console.print(f"\n{policy} phrases, {one['pairs']} pairs: seconds and ratios, medians", table, sep="\n")
    late, passes, peaks = one["latency"], one["passes"], one["peak MiB"]
    shares = ", ".join(f"{share:.2f}" for share in one["share of the crop"])
    console.print(
        f"latency / own stages {late['median']:.3f} ({late['least']:.3f} .. {late['most']:.3f}); "
        f"outside the tools {one['outside the tools']:.4f} s\n"
        f"unlike pixels {one['unlike pixels']}; instances {one['instances']:.0f}; "
        f"points, text, both cover {shares} of the crop\n"
        f"backbone passes {passes['ours']} ours, {passes['reference']} in the published order; "
        f"peak MiB {peaks['ours']:,.0f} and {peaks['reference']:,.0f}; PNG {one['file']:.4f} s"
    )


def show_operations(figures: dict[str, Any], console: Console) -> None:
    """What each stage computes, and how near it comes to what the device can do; by the published order's times."""
    ceilings = figures["ceiling"]
    table = Table("stage", "GFLOP", "GFLOP/s", *(f"of {kind}" for kind in ceilings))
    for stage, count in figures["operations"].items():
        # The published order encodes twice, and its `encode` is the sum.
        each = figures["new"]["stages"][stage]["reference"] / (2 if stage == "encode" else 1)
        shares = [f"{count / each / value:.0%}" for value in ceilings.values()]
        table.add_row(stage, f"{count / 1e9:,.2f}", f"{count / each / 1e9:,.1f}", *shares)
    title = "\noperations, by the published order's times of new phrases, where nothing runs beside"
    console.print(title, table, sep="\n")


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
    elif options.mode == "small" and find_spec("tiny_sam3") is None:
        parser.error(NEEDS)
    return options


def check_device(parser: argparse.ArgumentParser, name: str) -> None:
    from geoseg_tools import DeviceError, devices  # noqa: PLC0415 - loads torch

    try:
        device = devices.device_of(name)
    except DeviceError as error:
        parser.error(f"{error}; {error.hint}")
    if device.type != "cuda":
        parser.error(f"--device takes a CUDA device, got {name}; without it the benchmark runs on the CPU")


def main() -> int:
    options = parsed()
    try:
        import torch  # noqa: PLC0415 - takes seconds, and --help needs none of it
        from tool_runs import all_models, measured  # noqa: PLC0415 - as above
    except (ImportError, RuntimeError) as error:
        raise SystemExit(f"{str(error).splitlines()[0]}\n{NEEDS}") from error

    console = Console(width=118)
    results, missed = [], []
    for models in all_models(options):
        if options.threads:
            torch.set_num_threads(options.threads)
        figures = asyncio.run(measured(models, options))
        figures["operations"] = figures["operations"] or results[0]["operations"]  # the same work, compiled
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

"""Tiny scenes for batches, and backends that answer in a moment: "batch_data:grounder" and "batch_data:tools"."""

import json

import numpy as np
import rasterio
from fakes import WordGrounder, WordToolbox

from geoseg_agent import Settings
from geoseg_agent.batch.engines import LocalEngine
from geoseg_agent.batch.results import load_results
from geoseg_agent.batch.run import run
from geoseg_agent.batch.sources import open_source

SIZE = (48, 64)
BROKEN = b"no picture at all"


def grounder(settings):
    """A target for every word that `fakes` knows."""
    return WordGrounder()


def tools(settings):
    """Tools that the same words steer."""
    return WordToolbox()


def words(**values):
    """Settings for both."""
    return Settings(grounder="batch_data:grounder", tools="batch_data:tools", **values)


def scenes(folder, count, *, broken=(), names="scene-{:03d}.tif"):
    """Georeferenced noise, each elsewhere; those numbered in `broken` are no pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / names.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if number in broken:
            path.write_bytes(BROKEN)
            continue
        pixels = np.random.default_rng(number).integers(0, 256, (3, *SIZE), dtype=np.uint8)
        place = rasterio.Affine(0.5, 0, 400_000 + 100 * number, 0, -0.5, 5_600_000)
        profile = {"driver": "GTiff", "height": SIZE[0], "width": SIZE[1], "count": 3, "dtype": "uint8"}
        with rasterio.open(path, "w", crs="EPSG:32633", transform=place, **profile) as dataset:
            dataset.write(pixels)
    return folder


async def ran(source, folder, settings, queries=("both sure",), *, engine=None, at_once=4, **values):
    """The lines of a batch, by id."""
    found = open_source(str(source), asset=values.pop("asset", None), leave_out=folder)
    await run(found, queries, folder, settings, engine or LocalEngine(settings, at_once), **values)
    return lines(folder)


def lines(folder):
    """By id; a file that is not there has none."""
    file = folder / "batch.jsonl"
    return {one.id: one for one in load_results(file)} if file.exists() else {}


def same(results):
    """What must not depend on when, or how often, a batch was interrupted."""
    apart = {"trace": None, "seconds": None, "objects": None}
    return {name: one.model_copy(update=apart) for name, one in results.items()}


def write_lines(path, rows):
    """JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path

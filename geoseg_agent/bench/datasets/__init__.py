"""Data sets on disk: pairs to measure with, boxes to calibrate with, and a check of both before a run.

    dataset = open_pairs("folder")           # which of four layouts it has is told from its files
    for rule in validate(dataset): ...       # every broken record, not only the first
    for pair in dataset: pair.truth.read()   # lazily, one at a time

None is downloaded or shipped. Each layout is described in its module: manifest, geoseg_bench, lasers, referring;
box_records, dior, nwpu, loveda.
"""

from geoseg_agent.bench.datasets.box_layouts import BoxLayout, open_boxes
from geoseg_agent.bench.datasets.box_records import BoxRecord
from geoseg_agent.bench.datasets.collection import Broken, Dataset, Record
from geoseg_agent.bench.datasets.layouts import Layout, open_pairs
from geoseg_agent.bench.datasets.mask_file import MaskFile
from geoseg_agent.bench.datasets.pictures import picture_size
from geoseg_agent.bench.datasets.sampling import sample
from geoseg_agent.bench.datasets.segments import Polygons, RunLengths, Runs, United
from geoseg_agent.bench.datasets.validate import validate

__all__ = [
    "BoxLayout",
    "BoxRecord",
    "Broken",
    "Dataset",
    "Layout",
    "MaskFile",
    "Polygons",
    "Record",
    "RunLengths",
    "Runs",
    "United",
    "open_boxes",
    "open_pairs",
    "picture_size",
    "sample",
    "validate",
]

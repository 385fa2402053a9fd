"""Answers made by hand, for the files they are saved as."""

import numpy as np
import pyproj
from PIL import Image as Pillow

from geoseg_agent.georeference import Georeference
from geoseg_agent.imagery import Image
from geoseg_agent.instances import instances_of
from geoseg_agent.segmentation import Segmentation
from geoseg_agent.types import Areas, Similarity, Target, TargetMask
from geoseg_tools import Masks, refine, topk_nms, whole

GEOD = pyproj.Geod(ellps="WGS84")
UTM = Georeference("EPSG:32632", (0.5, 0.0, 500_000.0, 0.0, -0.5, 5_600_000.0))


def picture(size=(60, 80), *, georeference=UTM, valid=None, seed=3):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    return Image.from_array(pixels, valid=valid, name="scene.tif", georeference=georeference)


def blobs(size=(60, 80)):
    """A disc with a hole, a bar that touches the edge, and two pixels that meet in a corner."""
    y, x = np.mgrid[: size[0], : size[1]]
    radius = np.hypot(y - size[0] / 2, x - size[1] / 3)
    mask = (radius < 18) & (radius > 6)
    mask[5:9, size[1] - 20 :] = True
    mask[50, 70] = mask[51, 71] = True
    return mask


def part(mask, box, image, *, phrase="pond", score=0.75, confidence=0.5):
    roi = refine(box, image.size)
    cut = mask[roi.slices].copy()
    if image.valid is not None:
        cut &= image.valid[roi.slices]
    area = int(cut.sum())
    return TargetMask(
        target=Target(box, phrase, confidence),
        roi=roi,
        mask=cut,
        instances=instances_of(cut, Masks.of(cut[None]), roi, score),
        areas=Areas(area, area, area),
        rule="both",
        score=score,
        keypoints=topk_nms(np.zeros((4, 4), np.float32), roi.size),
        similarity=Similarity(0.0, 1.0, 0.5),
    )


def answer(image=None, mask=None, boxes=None, *, status=None, confidence=0.625, query="Where is the pond?"):
    image = image or picture()
    mask = blobs(image.size) if mask is None else mask
    boxes = [whole(image.size)] if boxes is None else boxes
    return Segmentation(
        image=image,
        query=query,
        status=status or ("found" if boxes else "not_found"),
        targets=tuple(part(mask, box, image) for box in boxes),
        confidence=confidence,
        engine="offline-baseline",
        reasoning="",
        notes=(),
        trace_id="01HZX",
    )


def load(path):
    with Pillow.open(path) as opened:
        return np.asarray(opened)


def pixel_areas(georeference, size):
    """Geodesic area of every pixel, each as a polygon with many points per edge: slow and obvious."""
    a, b, c, d, e, f = georeference.transform
    to_degrees = pyproj.Transformer.from_crs(georeference.crs, "EPSG:4326", always_xy=True)
    ring = [(t / 8, 0) for t in range(8)] + [(1, t / 8) for t in range(8)]
    ring += [(1 - t / 8, 1) for t in range(8)] + [(0, 1 - t / 8) for t in range(8)]
    areas = np.empty(size)
    for row, col in np.ndindex(*size):
        x, y = (np.array([p[k] for p in ring]) + (col, row)[k] for k in (0, 1))
        lon, lat = to_degrees.transform(a * x + b * y + c, d * x + e * y + f)
        areas[row, col] = abs(GEOD.polygon_area_perimeter(lon, lat)[0])
    return areas


GRIDS = {
    "UTM": UTM,
    "mercator at 48 degrees": Georeference("EPSG:3395", (0.1, 0.0, 1_009_956.8, 0.0, -0.1, 6_161_233.2)),
    "web mercator at 66 degrees": Georeference("EPSG:3857", (30.0, 0.0, 2_500_000.0, 0.0, -30.0, 10_000_000.0)),
    "degrees": Georeference("EPSG:4326", (6e-6, 0.0, 6.8, 0.0, -6e-6, 50.9)),
    "half degrees": Georeference("EPSG:4326", (0.5, 0.0, 20.0, 0.0, -0.5, 75.0)),
    "kilometres in UTM": Georeference("EPSG:32718", (1000.0, 0.0, 300_000.0, 0.0, -1000.0, 8_000_000.0)),
    "polar": Georeference("EPSG:3031", (500.0, 0.0, 900_000.0, 0.0, -500.0, 1_200_000.0)),
    "rotated": Georeference("EPSG:2056", (1.7, 1.0, 2_600_000.0, 1.0, -1.7, 1_200_000.0)),
    "south up": Georeference("EPSG:32733", (2.0, 0.0, 500_000.0, 0.0, 2.0, 7_000_000.0)),
    "feet": Georeference("EPSG:2263", (1.0, 0.0, 980_000.0, 0.0, -1.0, 200_000.0)),
    "own": Georeference("+proj=laea +lat_0=47 +lon_0=11 +ellps=GRS80", (9.0, 0.0, 5000.0, 0.0, -9.0, 5000.0)),
}


def wordy():
    """An answer whose files grow from mask.png (hundreds of bytes) over GeoTIFF and GeoJSON to the GeoPackage."""
    image = Image.from_array(np.full((300, 300, 3), 99, np.uint8), georeference=UTM)
    return answer(image, np.kron(np.eye(10), np.ones((30, 30))) > 0, query="why " * 400)

import json
import os
import subprocess
import sys
from functools import cache

import cv2
import numpy as np
import pytest
import rasterio

from geoseg_agent.samples import DEFAULT_KIND, DEFAULT_SEED, KINDS, scene, write
from geoseg_tools import Box

SMALL = (384, 512)
OVERLAYS = {"vegetation", "vehicle"}
MANIFEST_FIELDS = {
    "id",
    "image",
    "mask",
    "query",
    "level",
    "domain",
    "boxes",
    "phrase",
    "mask_kind",
    "width",
    "height",
    "area_frac",
    "source",
    "license",
}


@cache
def small(seed, kind):
    return scene(seed, SMALL, kind)


def full(instance, size):
    canvas = np.zeros(size, dtype=np.bool_)
    canvas[instance.box.slices] = instance.mask
    return canvas


def bounding(mask):
    rows, cols = np.nonzero(mask)
    return Box(int(cols.min()), int(rows.min()), int(cols.max()) + 1, int(rows.max()) + 1)


def flood_boxes(mask):
    """Slow and obvious: the box of each 8-connected part."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    boxes = []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            edge.extend(around)
        ys, xs = zip(*part, strict=True)
        boxes.append(Box(min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    return sorted(boxes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_scene(kind):
    first, second = small(5, kind), scene(5, SMALL, kind)
    assert first is not second
    assert first.pixels.tobytes() == second.pixels.tobytes()
    assert first.masks.keys() == second.masks.keys()
    assert all((first.masks[name] == second.masks[name]).all() for name in first.masks)
    assert [(q.id, q.text, q.boxes) for q in first.queries] == [(q.id, q.text, q.boxes) for q in second.queries]
    assert first.georeference == second.georeference


def test_seed_and_kind_make_the_scene():
    digests = {small(seed, kind).pixels.tobytes() for seed in (0, 1) for kind in KINDS}
    assert len(digests) == 2 * len(KINDS)
    assert (small(0, "farmland").masks["field"] != small(1, "farmland").masks["field"]).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_pixel_has_exactly_one_class(seed, kind):
    made = small(seed, kind)
    classes = [mask for name, mask in made.masks.items() if name not in OVERLAYS]
    assert (np.sum(classes, axis=0) == 1).all()
    assert all(mask.shape == made.size and mask.dtype == np.bool_ and mask.any() for mask in made.masks.values())


@pytest.mark.parametrize("kind", KINDS)
def test_overlays_lie_where_they_must(kind):
    masks = small(0, kind).masks
    assert (masks["vegetation"] == (masks["tree"] | masks["grass"])).all()
    below = masks["road"] | masks.get("car park", np.zeros(SMALL, dtype=np.bool_))
    seen = masks["vehicle"] & ~below
    # A crown may hang over a car, and hides it in no mask but that of the trees.
    assert not (seen & ~masks["tree"]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_instances_make_up_their_class(kind):
    made = small(1, kind)
    assert len({item.id for item in made.instances}) == len(made.instances)
    for concept in {"building", "water", "field", "aircraft", "vehicle"} & made.masks.keys():
        parts = [full(item, made.size) for item in made.instances if item.concept == concept]
        assert (np.sum(parts, axis=0) == made.masks[concept]).all()
    for item in made.instances:
        assert item.mask.shape == item.box.size
        assert bounding(full(item, made.size)) == item.box


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_queries_stand_on_three_levels_with_exact_answers(seed, kind):
    made = small(seed, kind)
    assert {query.level for query in made.queries} == {1, 2, 3}
    assert len({query.id for query in made.queries}) == len(made.queries)
    assert len({query.text for query in made.queries}) == len(made.queries)
    for query in made.queries:
        assert query.mask.shape == made.size
        assert query.mask.any()
        assert not query.mask.all()
        assert query.phrase
        if query.mask_kind == "class":
            assert any((query.mask == mask).all() for mask in made.masks.values())


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_tight(kind):
    for query in small(2, kind).queries:
        expected = flood_boxes(query.mask)
        if len(expected) > 40:
            expected = [bounding(query.mask)]
        assert list(query.boxes) == expected


def test_relations_and_superlatives_hold():
    made = scene(DEFAULT_SEED)
    answers = {query.id: query.mask for query in made.queries}
    fields = sorted(int(item.mask.sum()) for item in made.instances if item.concept == "field")
    assert int(answers["largest-field"].sum()) == fields[-1]
    assert fields[-2] < 0.8 * fields[-1]
    away = cv2.distanceTransform((~answers["lake"]).astype(np.uint8), cv2.DIST_L2, 5) * made.metres_per_pixel
    houses = [item for item in made.instances if item.concept == "building"]
    near = {item.id for item in houses if answers["beside-lake"][item.box.slices][item.mask].all()}
    distances = {item.id: away[item.box.slices][item.mask].min() for item in houses}
    assert 0 < len(near) < len(houses)
    assert max(distances[n] for n in near) + 5 < min(d for n, d in distances.items() if n not in near)


def test_aircraft_stand_where_the_question_says():
    made = small(1, "airport")
    answers = {query.id: query.mask for query in made.queries}
    for place in ("apron", "runway"):
        around = cv2.dilate(answers[f"on-{place}"].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        surroundings = around & ~made.masks["aircraft"]
        assert made.masks[place][surroundings].all()
    assert not (answers["on-apron"] & answers["on-runway"]).any()


def test_buildings_throw_shadows_away_from_the_sun():
    made = small(0, "airport")
    hall = max((item for item in made.instances if item.concept == "building"), key=lambda item: item.mask.sum())
    x1, y1, x2, _ = hall.box
    middle = slice((x1 + x2) // 2 - 20, (x1 + x2) // 2 + 20)
    north = made.pixels[max(y1 - 4, 0) : y1, middle].mean()
    assert north < 0.8 * made.pixels[made.masks["grass"]].mean()


def test_the_default_scene_has_what_the_demo_shows():
    made = scene(DEFAULT_SEED)
    assert made.kind == DEFAULT_KIND
    assert made.pixels.shape == (768, 1024, 3)
    assert made.pixels.dtype == np.uint8
    assert {"water", "lake", "largest-field", "buildings"} <= {query.id for query in made.queries}
    with pytest.raises(ValueError, match="read-only"):
        made.pixels[0, 0] = 0


@pytest.mark.parametrize("size", [(256, 256), (256, 400), (400, 256), (257, 771)])
@pytest.mark.parametrize("kind", ["airport", "farmland"])
def test_small_and_odd_sizes_work(size, kind):
    made = scene(3, size, kind)
    assert made.size == size
    assert made.name == f"{kind}-3-{size[1]}x{size[0]}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "at least 0"),
        ({"seed": 0, "kind": "moon"}, "lakeside, village, farmland, airport"),
        ({"seed": 0, "size": (255, 400)}, "256"),
        ({"seed": 0, "size": (400, 4097)}, "4096"),
        ({"seed": 0, "size": (256, 800)}, "three times"),
        ({"seed": 0, "size": (256, 256), "kind": "village"}, "enlarge"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_reason(arguments, words):
    with pytest.raises(ValueError, match=words):
        scene(**arguments)


def test_a_written_scene_reads_back(tmp_path):
    made = small(1, "lakeside")
    paths = write(made, tmp_path / "deep" / "scene")
    with rasterio.open(paths.geotiff) as raster:
        assert raster.crs.to_string() == made.georeference.crs
        assert tuple(raster.transform)[:6] == made.georeference.transform
        assert raster.profile["tiled"]
        assert raster.profile["compress"] == "deflate"
        assert (np.moveaxis(raster.read(), 0, 2) == made.pixels).all()
    assert 0.3 <= made.metres_per_pixel <= 0.5
    assert (cv2.imread(str(paths.png))[..., ::-1] == made.pixels).all()
    records = [json.loads(line) for line in paths.manifest.read_text("utf-8").splitlines()]
    assert len(records) == len(made.queries) == len(paths.masks)
    for record, query in zip(records, made.queries, strict=True):
        assert record.keys() == MANIFEST_FIELDS
        stored = cv2.imread(str(paths.folder / record["mask"]), cv2.IMREAD_UNCHANGED)
        assert ((stored == 255) == query.mask).all()
        assert set(np.unique(stored)) == {0, 255}
        assert (paths.folder / record["image"]) == paths.geotiff
        assert [Box(*box) for box in record["boxes"]] == list(query.boxes)
        assert (record["height"], record["width"]) == made.size
        assert record["area_frac"] == pytest.approx(query.mask.mean(), abs=1e-5)
        assert (record["license"], record["source"]) == ("Apache-2.0", "geoseg-agent samples")
    assert [item.name for item in paths.folder.parent.iterdir()] == ["scene"]


def test_what_is_there_is_not_overwritten_unawares(tmp_path):
    made, other = small(1, "lakeside"), small(0, "farmland")
    paths = write(made, tmp_path / "scene")
    before = paths.png.read_bytes()
    with pytest.raises(FileExistsError, match="replace=True"):
        write(other, tmp_path / "scene")
    assert paths.png.read_bytes() == before
    write(other, tmp_path / "scene", replace=True)
    assert paths.png.read_bytes() != before
    assert {path.stem for path in (tmp_path / "scene" / "masks").iterdir()} == {query.id for query in other.queries}


@pytest.mark.parametrize("manifest", [None, "", "not json\n", "[1]\n", '{"source": "someone else"}\n'])
def test_a_foreign_folder_is_never_replaced(tmp_path, manifest):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "scene.png").write_text("three years")
    if manifest is not None:
        (folder / "queries.jsonl").write_text(manifest)
    with pytest.raises(FileExistsError, match="besides a sample scene"):
        write(small(1, "lakeside"), folder, replace=True)
    assert (folder / "scene.png").read_text() == "three years"
    assert [item.name for item in tmp_path.iterdir()] == ["mine"]


def test_a_scene_with_something_of_the_users_in_it_is_never_replaced(tmp_path):
    made = small(1, "lakeside")
    paths = write(made, tmp_path / "scene")
    (paths.folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="besides a sample scene"):
        write(made, paths.folder, replace=True)
    assert (paths.folder / "notes.txt").read_text() == "mine"


def test_a_failed_write_leaves_nothing(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(OSError, match="file"):
        write(small(1, "lakeside"), blocker / "scene")
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_importing_the_package_is_cheap():
    code = (
        "import sys, geoseg_agent.samples as s; "
        "heavy = {'cv2', 'numpy', 'scipy', 'rasterio'} & set(sys.modules); "
        "assert not heavy, heavy; "
        "s.scene(1, (256, 256), 'airport'); "
        "assert 'rasterio' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr


def test_only_known_names_are_offered():
    from geoseg_agent import samples  # noqa: PLC0415 - the module itself is what is looked at

    assert all(hasattr(samples, name) for name in samples.__all__)
    with pytest.raises(AttributeError, match="no attribute 'paint'"):
        _ = samples.paint

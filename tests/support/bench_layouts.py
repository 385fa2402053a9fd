"""Tiny data sets in every layout, written from scratch; each writer takes a folder and says what is in it."""

import json

import numpy as np
from PIL import Image
from pycocotools import mask as coco

SIZE = (24, 32)


def picture(path, size=SIZE, seed=0, **options):
    """An RGB picture of noise, in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def square(x1, y1, x2, y2, size=SIZE):
    mask = np.zeros(size, dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def mask_png(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = mask if mask.dtype == np.uint8 else np.where(mask, 255, 0).astype(np.uint8)
    Image.fromarray(values).save(path)
    return path


def rle(mask):
    """COCO's compressed run-lengths, as JSON has them."""
    runs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": runs["counts"].decode()}


def plain_rle(mask):
    """Uncompressed run-lengths, counted slowly."""
    counts, value, run = [], False, 0
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(run)
            value, run = pixel, 0
        run += 1
    return {"size": list(mask.shape), "counts": [*counts, run]}


def write_json(path, value, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, **options), encoding="utf-8")
    return path


def write_lines(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def line(number, **changes):
    """A record of the manifest that `manifest` writes, with changes."""
    return {
        "id": f"q{number}",
        "image": "images/a.png",
        "mask": f"masks/q{number}.png",
        "query": f"question {number}",
        "level": 1 + number % 3,
        "domain": "urban",
        "boxes": [[number, 2, number + 4, 8]],
        "phrase": "roof",
        "mask_kind": "class",
        "width": SIZE[1],
        "height": SIZE[0],
        "area_frac": 0.1,
        "source": "drawn",
        "license": "CC0-1.0",
    } | changes


def manifest(root, count=2):
    """Pairs q0, q1, ... on one image; returns their masks by id."""
    picture(root / "images/a.png")
    masks = {f"q{number}": square(number, 2, number + 4, 8) for number in range(count)}
    for name, mask in masks.items():
        mask_png(root / f"masks/{name}.png", mask)
    write_lines(root / "manifest.jsonl", [line(number) for number in range(count)])
    return masks


def geoseg_bench(root):
    """One pair in each of the four domains, all with the same id."""
    masks = {}
    for number, domain in enumerate(("Urban", "Rural", "Traffic", "Nature")):
        picture(root / f"images/Level1/{domain}.jpg", seed=number)
        masks[f"{domain.lower()}-000000"] = mask = square(number, 1, number + 5, 9)
        mask_png(root / f"masks/Level1/{domain}.png", mask)
        record = {
            "id": "000000",
            "difficulty": f"Level{1 + number % 3}",
            "question": f"Where is it in {domain}?",
            "file_name": f"Level1/{domain}.jpg",
            "mask_path": f"Level1/{domain}.png",
        }
        write_json(root / f"annotations/{domain}.json", [record])
    return masks


def lasers_record(number, masks, image="shared.jpg", **changes):
    return {
        "id": number,
        "split": "train",
        "image_name": image,
        "size": list(SIZE),
        "mask": [rle(mask) for mask in masks],
        "description": f"the thing number {number}",
        "answer": "[SEG]",
    } | changes


def lasers(root):
    """Three records on one image, the third of another split and of two masks."""
    picture(root / "images/shared.jpg")
    parts = [[square(0, 0, 4, 4)], [square(8, 8, 12, 20)], [square(0, 20, 3, 24), square(20, 0, 32, 2)]]
    records = [lasers_record(number, masks) for number, masks in enumerate(parts, 7)]
    records[2]["split"] = "val"
    write_json(root / "annotations/train_ann.json", records, indent=1)
    return {f"00000{place}-{place + 6}": np.any(masks, axis=0) for place, masks in enumerate(parts, 1)}


def instances():
    """Two images; annotations as polygons, as one run-length object, and as a list of them."""
    whole, part, plain = square(2, 3, 9, 11), square(20, 4, 30, 14), square(5, 15, 12, 22)
    ring = [2, 3, 9, 3, 9, 11, 2, 11]
    masks = {"5-1": whole, "5-2": whole, "6-1": part, "7-1": part | plain}
    return {
        "images": [
            {"id": number, "file_name": f"{number:05d}.jpg", "height": SIZE[0], "width": SIZE[1]} for number in (1, 2)
        ],
        "annotations": [
            {"id": 11, "image_id": 1, "segmentation": [ring], "category_id": 4, "bbox": [2, 3, 7, 8]},
            {"id": 12, "image_id": 2, "segmentation": [rle(part)], "categories_id": 4, "bbox": [20, 4, 30, 14]},
            {"id": 13, "image_id": 2, "segmentation": plain_rle(plain), "category_id": 5},
        ],
        "categories": [{"id": 4, "name": "bridge"}, {"id": 5, "name": "dam"}],
        "refs": [
            {
                "ref_id": 5,
                "image_id": 1,
                "ann_id": 11,
                "split": "train",
                "sentences": [{"sent": "the left bridge", "raw": "The left bridge."}, {"raw": "A bridge"}],
            },
            {"ref_id": 6, "image_id": 2, "ann_id": 12, "split": "test", "sentences": ["bridge by the dam"]},
            {"ref_id": 7, "image_id": 2, "ann_id": [12, 13], "split": "test", "sentences": [{"sent": "both"}]},
        ],
    }, masks


def referring(root):
    content, masks = instances()
    for number in (1, 2):
        picture(root / f"images/rrsisd/JPEGImages/{number:05d}.jpg", seed=number)
    write_json(root / "rrsisd/instances.json", content)
    return masks


def dior(root):
    """Two aeroplanes and a ship on one image."""
    picture(root / "JPEGImages-trainval/00001.jpg")
    objects = [("airplane", 1, 2, 9, 8), ("ship", 10, 10, 32, 24), ("airplane", 0, 12, 5, 20)]
    path = root / "Annotations/Horizontal Bounding Boxes/00001.xml"
    path.parent.mkdir(parents=True)
    path.write_text(voc("00001.jpg", objects))
    return path


def voc(name, objects, size=SIZE):
    described = "".join(
        f"<object><name>{kind}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for kind, x1, y1, x2, y2 in objects
    )
    shape = f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{shape}{described}</annotation>"


def nwpu(root):
    picture(root / "positive image set/001.jpg")
    path = root / "ground truth/001.txt"
    path.parent.mkdir(parents=True)
    path.write_text("(1,2),(9,8),1\r\n( 10,10) , (32,24),2 \r\n(0,12),(5,20),1\r\n\r\n")
    return path


def loveda(root, name="Train/Urban/masks_png/0.png"):
    """A class map with two buildings that touch at a corner, one speck, and a lake."""
    classes = np.ones((64, 64), dtype=np.uint8)
    classes[0:20, 0:20] = classes[20:40, 20:40] = 2
    classes[50:53, 50:53] = 2
    classes[40:64, 0:16] = 4
    path = mask_png(root / name, classes)
    picture(path.parent.parent / "images_png" / path.name, size=(64, 64))
    return path

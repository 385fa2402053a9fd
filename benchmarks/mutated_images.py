"""Damaged and hostile image files: every one must be read, or refused with an `ImageError`, within bounded memory.

    python benchmarks/mutated_images.py --count 2000 --seed 0

Seeds of every supported kind are made here, mutated (flipped bits, extreme header fields, cuts, splices, repaired PNG
checksums) and read in child processes, so that a crash of a decoder is counted and not fatal. Prints one JSON object;
exits with 1 when a file was neither read nor properly refused, or memory went over the limit.
"""

import argparse
import collections
import io
import json
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from pathlib import Path

import cv2
import numpy as np
import rasterio
from PIL import Image
from rasterio.io import MemoryFile

BATCH = 250
LIMIT_MIB = 1024
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


def pillow_bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def geotiff_bytes(bands: np.ndarray, **profile: object) -> bytes:
    """A GeoTIFF of `bands` (n, h, w), any dtype."""
    count, height, width = bands.shape
    given = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": bands.dtype.name,
        "crs": "EPSG:32632",
        "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_600_000),
    }
    with MemoryFile() as memory:
        with memory.open(**given | profile) as dataset:
            dataset.write(bands)
            if profile.get("photometric") == "palette":
                dataset.write_colormap(1, {value: (value, 255 - value, 0, 255) for value in range(256)})
        return bytes(memory.read())


def seeds(rng: np.random.Generator) -> dict[str, bytes]:
    """One small file of each kind a reader has a path for."""
    rgb = np.kron(rng.integers(0, 256, (8, 10, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    alpha = np.where(np.arange(60) < 40, 255, 0).astype(np.uint8)[None].repeat(48, axis=0)
    colour = Image.fromarray(rgb)
    clear = Image.fromarray(np.dstack([rgb, alpha]))
    deep = rng.integers(0, 4000, (3, 48, 60)).astype(np.uint16)
    bands = np.moveaxis(rgb, -1, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    floats = rng.normal(size=(1, 48, 60)).astype(np.float32)
    floats[0, :5] = np.nan
    mosaic = geotiff_bytes(bands, nodata=0, tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    return {
        "png-rgb": pillow_bytes(colour, "PNG"),
        "png-rgba": pillow_bytes(clear, "PNG"),
        "png-palette": pillow_bytes(colour.quantize(16), "PNG", transparency=3),
        "png-1bit": pillow_bytes(colour.convert("1"), "PNG"),
        "png-exif": pillow_bytes(colour, "PNG", exif=exif),
        "png-grey16": pillow_bytes(Image.fromarray(deep[0]), "PNG"),
        "png-rgb16": cv2.imencode(".png", np.moveaxis(deep, 0, -1))[1].tobytes(),
        "jpeg": pillow_bytes(colour, "JPEG", exif=exif),
        "jpeg-progressive": pillow_bytes(colour, "JPEG", progressive=True),
        "jpeg-grey": pillow_bytes(colour.convert("L"), "JPEG"),
        "jpeg-cmyk": pillow_bytes(colour.convert("CMYK"), "JPEG"),
        "webp": pillow_bytes(colour, "WebP"),
        "webp-lossless-alpha": pillow_bytes(clear, "WebP", lossless=True),
        "webp-exif": pillow_bytes(colour, "WebP", exif=exif),
        "webp-animated": pillow_bytes(colour, "WebP", save_all=True, append_images=[clear]),
        "tiff-plain": pillow_bytes(colour, "TIFF"),
        "tiff-lzw": pillow_bytes(colour, "TIFF", compression="tiff_lzw"),
        "tiff-1bit": pillow_bytes(colour.convert("1"), "TIFF", compression="group4"),
        "tiff-cmyk": pillow_bytes(colour.convert("CMYK"), "TIFF"),
        "tiff-pages": pillow_bytes(colour, "TIFF", save_all=True, append_images=[colour]),
        "geotiff-tiles": mosaic,
        "geotiff-strips": geotiff_bytes(deep, compress="lzw", blockysize=8),
        "geotiff-float": geotiff_bytes(floats, nodata=-9999.0, compress="deflate", predictor=3),
        "geotiff-double": geotiff_bytes(floats.astype(np.float64), compress="zstd"),
        "geotiff-planar": geotiff_bytes(np.concatenate([deep, deep]), interleave="band"),
        "geotiff-jpeg": geotiff_bytes(
            bands, compress="jpeg", photometric="ycbcr", tiled=True, blockxsize=16, blockysize=16
        ),
        "geotiff-webp": geotiff_bytes(bands, compress="webp"),
        "geotiff-palette": geotiff_bytes(bands[:1], photometric="palette"),
        "geotiff-alpha": geotiff_bytes(np.concatenate([bands, alpha[None]]), alpha="yes", photometric="rgb"),
        "geotiff-nbits": geotiff_bytes(bands[:1] >> 4, nbits=4),
        "geotiff-big": geotiff_bytes(deep, bigtiff="yes", tiled=True, blockxsize=32, blockysize=32),
        "geotiff-bigendian": geotiff_bytes(deep, endianness="big"),
        "geotiff-complex": geotiff_bytes(floats.astype(np.complex64)),
    }


def mutated(data: bytes, others: list[bytes], random_: random.Random) -> bytes:
    """`data` with one to six random injuries."""
    body = bytearray(data)
    for _ in range(random_.choice((1, 1, 1, 2, 5))):
        # Headers sit at either end; most of the harm is done there.
        place = random_.choice(
            (random_.randrange(64), random_.randrange(len(body) + 1), len(body) - random_.randrange(400))
        )
        place = min(max(place, 0), max(len(body) - 1, 0))
        if body[:4] == b"II*\0" and random_.random() < 0.5:
            edit_tag(body, random_)
            continue
        match random_.randrange(8):
            case 0 | 1:
                if body:
                    body[place] ^= 1 << random_.randrange(8)
            case 2 | 3:
                form = random_.choice(("<H", ">H", "<I", ">I", "B"))
                room = struct.calcsize(form)
                body[place : place + room] = struct.pack(form, random_.choice(EXTREMES) & (1 << 8 * room) - 1)
            case 4:
                del body[place:]
            case 5:
                del body[place : place + random_.randrange(1, 40)]
            case 6:
                body[place:place] = random_.randbytes(random_.randrange(1, 40))
            case _:
                other = random_.choice(others)
                start = random_.randrange(len(other))
                body[place : place + 60] = other[start : start + 60]
    return repaired(bytes(body)) if random_.random() < 0.7 else bytes(body)


def edit_tag(body: bytearray, random_: random.Random) -> None:
    """Change type, count or value of one entry of the first directory of a little-endian TIFF, in place."""
    start = int.from_bytes(body[4:8], "little")
    entries = int.from_bytes(body[start : start + 2], "little")
    entry = start + 2 + 12 * random_.randrange(max(entries, 1))
    if entry + 12 > len(body):
        return
    value = random_.choice((*EXTREMES, 8_000, 20_000, int.from_bytes(body[entry + 8 : entry + 10], "little") + 1))
    match random_.randrange(6):
        case 0:
            body[entry + 2 : entry + 4] = random_.randrange(14).to_bytes(2, "little")
        case 1:
            body[entry + 4 : entry + 8] = value.to_bytes(4, "little")
        case _:
            body[entry + 8 : entry + 12] = value.to_bytes(4, "little")


def repaired(data: bytes) -> bytes:
    """A PNG with the checksums of its chunks put right, so that its injuries reach the decoder; others unchanged."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    body, place = bytearray(data), 8
    while place + 12 <= len(body):
        end = place + 8 + int.from_bytes(body[place : place + 4], "big")
        if end + 4 > len(body):
            break
        body[end : end + 4] = zlib.crc32(body[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(body)


def case(number: int, seed: int, files: dict[str, bytes]) -> tuple[str, bytes]:
    """Name of the seed, and mutated bytes, of case `number`; independent of all other cases."""
    random_ = random.Random(f"{seed}/{number}")  # noqa: S311 - reproducible, not secret
    name = sorted(files)[number % len(files)]
    return name, mutated(files[name], list(files.values()), random_)


def run_batch(first: int, count: int, seed: int) -> None:
    """Read `count` cases; one JSON line per case on standard output, written before the next one starts."""
    from geoseg_agent.errors import ImageError  # noqa: PLC0415 - only the children pay for it
    from geoseg_agent.imagery import read_image  # noqa: PLC0415 - as above

    files = seeds(np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + count):
            name, data = case(number, seed, files)
            path = Path(folder) / "image"
            path.write_bytes(data)
            start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(json.dumps({"case": number, "seed": name}), flush=True)
            try:
                image = read_image(path)
                outcome, detail = "read", list(image.size)
            except ImageError as error:
                outcome, detail = "refused", str(error)
            except BaseException:  # noqa: BLE001 - what this looks for
                outcome, detail = "wrong", traceback.format_exc()
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            record = {"outcome": outcome, "detail": detail, "seconds": time.perf_counter() - start}
            print(json.dumps(record | {"rss_mib": after / 1024, "grew_mib": (after - before) / 1024}), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--batch", nargs=2, type=int, metavar=("FIRST", "COUNT"), help="read these cases here and now"
    )
    parser.add_argument("--keep", type=Path, help="write the files that went wrong into this folder")
    options = parser.parse_args()
    if options.batch:
        run_batch(*options.batch, options.seed)
        return 0
    outcomes: collections.Counter[str] = collections.Counter()
    by_seed: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    wrong, noise, peak, slowest, first = [], "", 0.0, 0.0, 0
    while first < options.count:
        count = min(BATCH, options.count - first)
        command = [
            sys.executable,
            "-W",
            "error",
            __file__,
            "--seed",
            str(options.seed),
            "--batch",
            str(first),
            str(count),
        ]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in child.stdout.splitlines()]
        for case_, record in zip(lines[::2], lines[1::2], strict=False):
            outcomes[record["outcome"]] += 1
            by_seed[case_["seed"]][record["outcome"]] += 1
            peak, slowest = max(peak, record["rss_mib"]), max(slowest, record["seconds"])
            if record["outcome"] == "wrong":
                wrong.append(case_ | {"detail": record["detail"]})
        noise += child.stderr
        done = len(lines) // 2
        if len(lines) % 2:
            outcomes["crashed"] += 1
            wrong.append(lines[-1] | {"detail": f"the process died: {child.returncode}"})
            done += 1
        elif child.returncode:
            sys.exit(child.stderr)
        first += done
    if options.keep and wrong:
        options.keep.mkdir(parents=True, exist_ok=True)
        files = seeds(np.random.default_rng(options.seed))
        for item in wrong:
            (options.keep / f"{item['case']}-{item['seed']}").write_bytes(case(item["case"], options.seed, files)[1])
    report = {
        "files": sum(outcomes.values()),
        "outcomes": dict(outcomes),
        "read_by_seed": {name: counts["read"] for name, counts in sorted(by_seed.items())},
        "peak_rss_mib": round(peak, 1),
        "slowest_seconds": round(slowest, 3),
        "stderr_bytes": len(noise),
        "wrong": wrong[:20],
    }
    print(json.dumps(report, indent=2))
    if noise:
        print(noise[:4000], file=sys.stderr)
    return 1 if wrong or peak > LIMIT_MIB else 0


if __name__ == "__main__":
    sys.exit(main())

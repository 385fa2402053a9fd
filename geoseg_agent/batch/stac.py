"""A STAC ItemCollection in a local file as a source of a batch: one asset of every item.

Only what lies on a disk here is asked: an asset somewhere else is a failure of its own, and is never fetched.
STAC: https://github.com/radiantearth/stac-spec, item-spec and GeoJSON FeatureCollection.
"""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from geoseg_agent.batch.items import Refused, Row
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs import jsontexts
from geoseg_agent.runs.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

PREFERRED: Final = ("visual", "image", "data")
"""Keys of assets that are taken before others."""

REMOTE: Final = "remote_asset"
NO_ASSET: Final = "no_asset"


def rows(path: Path, asset: str | None, suffixes: Collection[str]) -> Iterator[Row | Refused]:
    """One record per item.

    Args:
        path: of the file.
        asset: the key of the asset to take; None for the first of `PREFERRED`, or else the first GeoTIFF or picture.
        suffixes: of the files that are pictures.

    Raises:
        DatasetError: the file cannot be read, or is no ItemCollection.
    """
    whole = jsontexts.load(path)
    found = whole.get("features") if isinstance(whole, dict) and whole.get("type") == "FeatureCollection" else None
    if not isinstance(found, list):
        raise DatasetError(
            f"{path} is no STAC ItemCollection: it must be a GeoJSON FeatureCollection of items",
            hint="save what a STAC search gives, for example with pystac's ItemCollection.save_object",
        )
    for number, item in enumerate(found, 1):
        where = f"{path.name}, item {number}"
        named = item.get("id") if isinstance(item, dict) else None
        if not isinstance(named, str) or not named or not isinstance(item.get("assets"), dict):
            yield Refused(where, "it is no STAC item: it needs an id and assets")
        else:
            wanted = f"no asset {asset!r}" if asset else "no asset that is a picture"
            there = ", ".join(map(str, item["assets"])) or "none"
            missing = f"{where} ({named}) has {wanted}; there are {there:.200}"
            yield _row(path, f"{where} ({named})", named, _chosen(item["assets"], asset, suffixes), missing)


def _row(path: Path, where: str, named: str, href: str | None, missing: str) -> Row:
    if href is None:
        fault = Failure(code=NO_ASSET, message=missing)
        return Row(where, named, str(path), named, fault=fault)
    parts = urlsplit(href)
    if parts.scheme in {"", "file"} and parts.netloc in {"", "localhost"}:
        name = os.path.normpath(unquote(parts.path) if parts.scheme else href)
        return Row(where, name, os.path.normpath(path.parent / name), named)
    return Row(where, href, href, named, fault=remote(where, href))


def remote(where: str, address: str) -> Failure:
    """What an image is that lies somewhere else: a failure of its own."""
    said = f"{where}: {address[:200]} is not on this machine, and nothing is fetched; download it first"
    return Failure(code=REMOTE, message=said)


def _chosen(assets: Mapping[str, Any], asset: str | None, suffixes: Collection[str]) -> str | None:
    keys = [asset] if asset else [*(key for key in PREFERRED if key in assets), *_pictures(assets, suffixes)]
    found = assets.get(keys[0]) if keys else None
    href = found.get("href") if isinstance(found, dict) else None
    return href if isinstance(href, str) and href else None


def _pictures(assets: Mapping[str, Any], suffixes: Collection[str]) -> Iterator[str]:
    """Keys of the assets that are pictures, GeoTIFF first."""
    kinds = {key: str(found.get("type", "")) for key, found in assets.items() if isinstance(found, dict)}
    yield from (key for key, kind in kinds.items() if kind.startswith("image/tiff"))
    for key in kinds:
        if PurePath(urlsplit(str(assets[key].get("href", ""))).path).suffix.lower() in suffixes:
            yield key

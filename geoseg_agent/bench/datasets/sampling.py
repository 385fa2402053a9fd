"""A sample of box records that anyone can draw again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from geoseg_agent.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geoseg_agent.bench.datasets.box_records import BoxRecord


def sample(records: Iterable[BoxRecord], n: int, seed: int) -> list[BoxRecord]:
    """`n` of the records, or all where there are no more, stratified by class, in the order of their ids.

    Every class gets one record while `n` lasts, and a share by its size of what is left, by largest remainders.
    Within a class the records with the smallest sha256 of "seed:id" are taken. So the sample depends on seed and ids
    only: not on the order of files, nor on a random generator.

    Raises:
        DatasetError: `n` is less than 1.
    """
    if n < 1:
        raise DatasetError(f"a sample has at least 1 record, got {n}")
    classes: dict[str, list[BoxRecord]] = {}
    for record in records:
        classes.setdefault(record.class_name, []).append(record)
    shares = _shares({name: len(group) for name, group in classes.items()}, n, seed)
    chosen = [
        record
        for name, group in classes.items()
        for record in sorted(group, key=lambda one: (_lot(seed, one.id), one.id))[: shares[name]]
    ]
    return sorted(chosen, key=lambda record: record.id)


def _shares(sizes: dict[str, int], n: int, seed: int) -> dict[str, int]:
    """How many of each class: at most what it has, `n` in all where there are so many."""
    drawn = sorted(sizes, key=lambda name: (_lot(seed, name), name))
    shares = {name: int(place < n) for place, name in enumerate(drawn)}
    left = min(n, sum(sizes.values())) - sum(shares.values())
    spare = {name: sizes[name] - shares[name] for name in drawn}
    total = sum(spare.values())
    if left <= 0 or total == 0:
        return shares
    # In whole numbers: a float remainder could tip one way here and another way elsewhere.
    for name in drawn:
        shares[name] += left * spare[name] // total
    rest = left - sum(left * spare[name] // total for name in drawn)
    for name in sorted(drawn, key=lambda name: -(left * spare[name] % total))[:rest]:
        shares[name] += 1
    return shares


def _lot(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogatepass")).digest()

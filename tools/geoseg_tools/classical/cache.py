"""What was derived from the last few scenes, by digest: working-size arrays only, never the scene's pixels."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

from geoseg_tools.classical.evidence import Evidence
from geoseg_tools.classical.features import thumbnail

if TYPE_CHECKING:
    from geoseg_tools.crop import Scene

CAPACITY = 4

_kept: OrderedDict[str, Evidence] = OrderedDict()
_lock = Lock()


def evidence_of(scene: Scene) -> Evidence:
    """The scene's evidence, kept for the next few calls; safe to call from several threads."""
    with _lock:
        found = _kept.get(scene.digest)
        if found is not None:
            _kept.move_to_end(scene.digest)
            return found
    fresh = Evidence(thumbnail(scene))
    with _lock:
        # Two threads may have worked on one scene; both results are equal, the first is kept.
        found = _kept.setdefault(scene.digest, fresh)
        while len(_kept) > CAPACITY:
            _kept.popitem(last=False)
    return found

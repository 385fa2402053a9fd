"""The product's own toolset of models over small random ones: `GEOSEG_TOOLS=small_models:toolbox`.

Random weights prove shapes, order, sharing and replay; what the masks show means nothing.
"""

import weakref
from threading import Lock

from tiny_sam3 import MISSING

from geoseg_agent.models import toolbox_over
from geoseg_agent.toolbox import Makers

_ONE_AT_A_TIME = Lock()  # lanes build side by side, and random weights come from one generator

__all__ = ["MISSING", "Counted", "seat", "toolbox"]


def toolbox(settings):
    """One seat for each of the settings' devices, all of them on the CPU."""
    return toolbox_over(settings, [seat(settings) for _ in settings.devices or ("cpu",)])


def seat(settings, *, segmenter=None):
    """How one pair of small models is built; `segmenter` wraps the second of them."""
    from tiny_clip import clip  # noqa: PLC0415 - needs the models
    from tiny_sam3 import sharing  # noqa: PLC0415

    method = settings.method({})
    options = {"text_mode": method.text_mode, "text_threshold": method.text_threshold}

    def make_matcher():
        with _ONE_AT_A_TIME:
            return clip(0)

    def make_segmenter():
        with _ONE_AT_A_TIME:
            made = sharing(0, weights={"sam3": "random, seed 0"}, **options)
        return made if segmenter is None else segmenter(made)

    return Makers(make_matcher, make_segmenter)


class _Held:
    """An encoding that can be watched."""

    def __init__(self, value):
        self.value = value


class Counted:
    """A segmenter that counts: crops encoded, encodings alive, and the most that ever were."""

    def __init__(self, inner):
        self.inner = inner
        self.encoded = []
        self.alive = self.most = 0

    def encode(self, crop):
        made = _Held(self.inner.encode(crop))
        self.encoded.append((crop.digest, crop.roi))
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(made, self._gone)
        return made

    def _gone(self):
        self.alive -= 1

    def from_points(self, encoded, *prompt):
        return self.inner.from_points(encoded.value, *prompt)

    def from_text(self, encoded, phrase):
        return self.inner.from_text(encoded.value, phrase)

"""The toolset `models`: CLIP Surgery beside SAM3, an instance of each on every device.

Nothing is loaded, and torch is not imported, before the first job on a lane; what can be checked without them is
checked at once.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from geoseg_agent.errors import ConfigError, MissingExtra, WeightsMissing
from geoseg_agent.toolbox import LocalToolbox, Makers

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    from geoseg_agent.settings import Settings
    from geoseg_tools.clip_surgery import Entry
    from geoseg_tools.crop import Crop
    from geoseg_tools.protocols import Matcher, Segmenter

ENGINE = "clip-surgery+sam3"
_SIDE = 1008  # what SAM3 resizes every crop to, as it is published
EXTRA = "pip install 'geoseg-agent[models]'"

NEEDS = ("torch", "torchvision", "sam3", "open_clip", "psutil")
_SAMPLE = "thing"  # what a model on an accelerator is asked for once before the first query


def models_toolbox(settings: Settings) -> LocalToolbox:
    """CLIP Surgery and SAM3 as the settings name them, on the devices that they name.

    Raises:
        MissingExtra: a package of the extra is not installed.
        WeightsMissing: a weight file that the settings name is not there.
    """
    _check_extra()
    for name in ("clip_checkpoint", "sam3_checkpoint"):
        path: Path | None = getattr(settings, name)
        if path is not None and not path.expanduser().is_file():
            raise WeightsMissing(
                f"{name} names {path}, and there is no such file",
                hint=f"set GEOSEG_{name.upper()} to the weight file, or unset it to take the weights from the hub",
            )
    names = settings.devices or ("auto",)
    return toolbox_over(settings, [Makers(partial(_clip, settings, n), partial(_sam3, settings, n)) for n in names])


def toolbox_over(settings: Settings, seats: Sequence[Makers]) -> LocalToolbox:
    """The models toolset with matchers and segmenters of one's own, one pair a seat."""
    method = settings.method({})
    return LocalToolbox(
        ENGINE,
        seats,
        defaults={},
        fixed={"text_mode": method.text_mode, "text_threshold": method.text_threshold},
        max_encoded=settings.max_encoded,
        place="load",
        identity=_identity,
        working_side=_SIDE,
        tile_side=_SIDE,
        keep=True,
    )


def clip_models() -> tuple[Entry, ...]:
    """The CLIP models that `clip_model` may name.

    Raises:
        MissingExtra: a package of the extra is not installed.
    """
    _check_extra()
    _check_pairing()
    from geoseg_tools.clip_surgery import TABLE  # noqa: PLC0415 - loads torch

    return tuple(TABLE.values())


def _check_extra() -> None:
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"the models need {', '.join(missing)}, not installed here", hint=EXTRA)


def _check_pairing() -> None:
    """Import torchvision, which both models need; beside a torch that it was not built for, it does not import."""
    try:
        import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"torchvision cannot be imported beside this torch: {said}",
            hint="install a pair that belongs together: pip install --force-reinstall torch torchvision",
        ) from error


def _identity(crop: Crop) -> Hashable:
    """The models see nothing but the pixels of the region."""
    return crop.digest, crop.roi


def _clip(settings: Settings, device: str) -> Matcher:
    _check_pairing()
    from geoseg_tools.clip_surgery import load  # noqa: PLC0415 - loads torch
    from geoseg_tools.devices import device_of  # noqa: PLC0415

    place, file = device_of(device), settings.clip_checkpoint
    clip = load(
        settings.clip_model,
        None if file is None else file.expanduser(),
        place,
        templates=settings.clip_templates,
    )
    if place.type != "cpu":
        clip.similarity(_blank(), _SAMPLE)
    return clip


def _sam3(settings: Settings, device: str) -> Segmenter:
    _check_pairing()
    import numpy as np  # noqa: PLC0415 - with the rest

    from geoseg_tools.devices import device_of  # noqa: PLC0415 - loads torch
    from geoseg_tools.sam3 import load  # noqa: PLC0415

    method, place, file = settings.method({}), device_of(device), settings.sam3_checkpoint
    sam3 = load(
        None if file is None else file.expanduser(),
        place,
        text_mode=method.text_mode,
        text_threshold=method.text_threshold,
        precision=settings.precision,
        compiled=settings.compile,
    )
    if place.type != "cpu":
        encoded = sam3.encode(_blank())
        sam3.from_text(encoded, _SAMPLE)
        sam3.from_points(encoded, np.array([[8, 8]]), np.array([True]))
    return sam3


def _blank() -> Crop:
    """A grey picture, to let an accelerator compile and allocate before a query waits for it."""
    import numpy as np  # noqa: PLC0415 - with the rest

    from geoseg_tools.crop import Crop, Scene  # noqa: PLC0415
    from geoseg_tools.geometry import whole  # noqa: PLC0415

    scene = Scene((16, 16), "blank", np.full((16, 16, 3), 127, dtype=np.uint8))
    return Crop(scene, whole(scene.size), whole(scene.size))

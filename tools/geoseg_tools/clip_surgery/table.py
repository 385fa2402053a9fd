"""The models that are known by a short key: what open_clip calls them, and what no file can tell about itself.

The activation is such a thing. OpenAI's models, and all that were fine-tuned from them, use QuickGELU; loaded into an
ordinary GELU they still work, a little wrong in every layer. Tags carry the flag in open_clip, files do not.

The input side is 512 as published, for patches that divide it. 14 does not: 512 would lose 8 pixels on the right and
at the bottom and shift the map, so models with that patch take 504, the nearest multiple, whose 36 cells a side are
an even number.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from geoseg_tools.clip_surgery.picture import OPENAI_MEAN, OPENAI_STD
from geoseg_tools.errors import ModelError

DEFAULT = "openai-b16"
"""The model of the published code, and of GeoSeg's."""

_MIT = "MIT, as the repository says"
_CARD = "MIT, as its model card says; check before use"
_UNSURE = "not verified; check before use"
_REMOTECLIP = "stated by its authors on request, not verified here; check before use"
_SKYCLIP = "repository listed as MIT, weights not verified; check before use"


@dataclass(frozen=True, slots=True)
class Entry:
    """One model.

    Attributes:
        key: its name here.
        name: of the architecture in open_clip; ends in -quickgelu where the weights want that activation.
        tag: of the weights in open_clip, or None where they come as a file only.
        quick_gelu: whether the weights were trained with QuickGELU.
        side: of the square that pictures are resized to, in pixels; a multiple of the patch.
        licence: of the weights, as far as known.
        where: to get the weights as a file.
        mean: of red, green, blue in 0..1, subtracted from a picture.
        std: what it is divided by.
    """

    key: str
    name: str
    tag: str | None
    quick_gelu: bool
    side: int
    licence: str
    where: str
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD

    @property
    def needs_file(self) -> bool:
        """True where open_clip knows no tag, so that the weights have to be given."""
        return self.tag is None


def _hub(repository: str, file: str) -> str:
    return f"{file} of the hub repository {repository}"


_SKYSCRIPT = "the SkyScript project's page (wangzhecheng/SkyScript), folder ckpt; unpack {}, the weights are {}"

# RemoteCLIP's QuickGELU is inferred from its authors' evaluation script, which starts from OpenAI's weights; that
# GeoRSCLIP L/14 starts from them too is assumed. The other flags are stated by the authors.
TABLE: dict[str, Entry] = {
    entry.key: entry
    for entry in (
        Entry(
            DEFAULT,
            "ViT-B-16-quickgelu",
            "openai",
            quick_gelu=True,
            side=512,
            licence=_MIT,
            where=_hub("timm/vit_base_patch16_clip_224.openai", "open_clip_model.safetensors"),
        ),
        Entry(
            "openai-l14",
            "ViT-L-14-quickgelu",
            "openai",
            quick_gelu=True,
            side=504,
            licence=_MIT,
            where=_hub("timm/vit_large_patch14_clip_224.openai", "open_clip_model.safetensors"),
        ),
        Entry(
            "remoteclip-b32",
            "ViT-B-32-quickgelu",
            None,
            quick_gelu=True,
            side=512,
            licence=_REMOTECLIP,
            where=_hub("chendelong/RemoteCLIP", "RemoteCLIP-ViT-B-32.pt"),
        ),
        Entry(
            "remoteclip-l14",
            "ViT-L-14-quickgelu",
            None,
            quick_gelu=True,
            side=504,
            licence=_REMOTECLIP,
            where=_hub("chendelong/RemoteCLIP", "RemoteCLIP-ViT-L-14.pt"),
        ),
        Entry(
            "georsclip-b32",
            "ViT-B-32-quickgelu",
            None,
            quick_gelu=True,
            side=512,
            licence=_UNSURE,
            where=_hub("Zilun/GeoRSCLIP", "ckpt/RS5M_ViT-B-32.pt"),
        ),
        Entry(
            "georsclip-l14",
            "ViT-L-14-quickgelu",
            None,
            quick_gelu=True,
            side=504,
            licence=_UNSURE,
            where=_hub("Zilun/GeoRSCLIP", "ckpt/RS5M_ViT-L-14.pt"),
        ),
        Entry(
            "georsclip-h14",
            "ViT-H-14",
            None,
            quick_gelu=False,
            side=504,
            licence=_UNSURE,
            where=_hub("Zilun/GeoRSCLIP", "ckpt/RS5M_ViT-H-14.pt"),
        ),
        Entry(
            "skyclip-b32",
            "ViT-B-32",
            None,
            quick_gelu=False,
            side=512,
            licence=_SKYCLIP,
            where=_SKYSCRIPT.format("SkyCLIP_ViT_B32_top50pct.zip", "epoch_20.pt"),
        ),
        Entry(
            "skyclip-l14",
            "ViT-L-14-quickgelu",
            None,
            quick_gelu=True,
            side=504,
            licence=_SKYCLIP,
            where=_SKYSCRIPT.format("SkyCLIP_ViT_L14_top30pct.zip", "epoch_20.pt"),
        ),
        Entry(
            "laion2b-b16",
            "ViT-B-16",
            "laion2b_s34b_b88k",
            quick_gelu=False,
            side=512,
            licence=_CARD,
            where=_hub("laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "open_clip_model.safetensors"),
        ),
        Entry(
            "laion2b-l14",
            "ViT-L-14",
            "laion2b_s32b_b82k",
            quick_gelu=False,
            side=504,
            licence=_CARD,
            where=_hub("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", "open_clip_model.safetensors"),
            mean=(0.5, 0.5, 0.5),  # the one model here that was not trained with OpenAI's numbers
            std=(0.5, 0.5, 0.5),
        ),
    )
}
"""The known models by key, the default first."""


def entry_of(key: str) -> Entry:
    """The model called `key`.

    Raises:
        ModelError: there is none of that name; the hint lists those there are, the nearest first.
    """
    if key in TABLE:
        return TABLE[key]
    near = get_close_matches(key.lower(), TABLE, n=1, cutoff=0.5)
    asked = f"did you mean {near[0]}? " if near else ""
    raise ModelError(f"there is no CLIP model {key!r}", hint=f"{asked}known are {', '.join(TABLE)}")

"""SAM3 (Segment Anything with Concepts) behind the protocol `Segmenter`.

The official model answers through two objects that keep state: a dictionary that every call changes, and a predictor
that remembers the last image. Here the image is encoded once into a frozen value, and every prompt reads that value
and leaves it as it is, so that the order of prompts never matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
import torch
from PIL import Image

from geoseg_tools import devices
from geoseg_tools.errors import ToolError
from geoseg_tools.masks import Masks, tight
from geoseg_tools.sam3 import upstream
from geoseg_tools.sam3.encoded import Encoded
from geoseg_tools.sam3.holes import filled
from geoseg_tools.sam3.phrases import Phrases
from geoseg_tools.sam3.upscale import instances, outline, region

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Points, Size
    from geoseg_tools.crop import Crop

T = TypeVar("T")

TextMode = Literal["instances", "semantic", "both"]
"""What a phrase is answered with: every instance, one mask of everything, or the instances and what they miss."""

Precision = Literal["auto", "float32", "bfloat16"]
"""What the model computes in; auto is bfloat16 on CUDA and float32 elsewhere."""


class Sam3:
    """Points or a phrase to masks, S of GeoSeg Eq. 4 and 5, by the official SAM3 image model.

    Args:
        model: from `sam3.build_sam3_image_model(enable_inst_interactivity=True)`, in evaluation mode, on `device`.
        device: where it computes.
        resolution: side of the square that it resizes every crop to.
        text_mode: what a phrase is answered with.
        text_threshold: an instance counts from above this score, 0..1; upstream's default is 0.5.
        precision: bfloat16 is autocast; what comes out of the model is float32 either way.
        weights: name to sha256 of what the model was filled from.
    """

    def __init__(
        self,
        model: Any,
        *,
        device: torch.device,
        resolution: int = 1008,
        text_mode: TextMode = "instances",
        text_threshold: float = 0.5,
        precision: Precision = "auto",
        weights: Mapping[str, str] | None = None,
    ) -> None:
        upstream.prepare()
        from sam3.model.geometry_encoders import Prompt  # noqa: PLC0415 - only now can it be imported
        from sam3.model.sam3_image_processor import Sam3Processor  # noqa: PLC0415

        self.weights = dict(weights or {})
        self._model = model
        self._device = device
        self._text_mode = text_mode
        self._text_threshold = text_threshold
        self._half = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
        self._processor = Sam3Processor(model, resolution=resolution, device=device)
        self._phrases = Phrases(model.backbone, device)
        self._prompt = Prompt

    def encode(self, crop: Crop) -> Encoded:
        """What both kinds of prompts share: one pass of the image backbone over `crop.pixels`.

        Preparation is upstream's own, from `Sam3Processor.set_image`.

        Raises:
            MemoryExhausted: the device has no more memory.
        """
        return self._run(f"encoding a crop of {_said(crop.size)}", self._encoded, crop)

    def from_text(self, encoded: Encoded, phrase: str) -> Masks:
        """Masks of everything in the crop that `phrase` names; none where nothing is found.

        Instances come by descending score: the instance's own probability times that of the phrase being there at
        all, as upstream's. A semantic mask comes last and exists only where the latter is over the threshold; its
        score is that times the mean probability of its pixels. A phrase of more tokens than the model reads is cut
        off, and a note says so.

        Raises:
            ToolError: the model gave something that is not a finite number.
            MemoryExhausted: the device has no more memory.
        """
        return self._run(f"answering a phrase on a crop of {_said(encoded.size)}", self._asked, encoded, phrase)

    def from_points(
        self, encoded: Encoded, points: Points, positive: NDArray[np.bool_], earlier: Mask | None = None
    ) -> Masks:
        """The mask of one object: of three proposals that of the best predicted IoU, which is its score.

        Small holes in it are filled, see `holes`. An `earlier` mask gains the object of the positive points and
        loses that of the negative ones, each with the points of the other side against it; the score is then the
        mean of what the model predicts for the two. The model's own way, an earlier result of its as a dense
        prompt, wants that result's logits and describes one object; a mask of many objects has neither.

        Args:
            encoded: from `encode`.
            points: (n, 2) int64 x, y in pixels of the crop.
            positive: (n,) bool, False where the object is not; without any True there is no object.
            earlier: (h, w) bool in pixels of the crop, the mask to correct, or None.

        Raises:
            ToolError: the model gave something that is not a finite number.
            MemoryExhausted: the device has no more memory.
        """
        nothing = Masks(encoded.size, (), np.zeros(0))
        doing = f"answering points on a crop of {_said(encoded.size)}"
        added = self._run(doing, self._pointed, encoded, points, positive) if positive.any() else nothing
        if earlier is None:
            return added
        removed = self._run(doing, self._pointed, encoded, points, ~positive) if not positive.all() else nothing
        return _corrected(earlier, added, removed)

    def count_passes(self, crop: Crop) -> int:
        """How often the image backbone runs for a crop, a phrase and a point; once, where the encoding is shared.

        Raises:
            ToolError, MemoryExhausted: as the calls it makes.
        """
        runs: list[None] = []
        hook = self._model.backbone.vision_backbone.trunk.register_forward_hook(lambda *_: runs.append(None))
        try:
            encoded = self.encode(crop)
            self.from_text(encoded, "thing")
            self.from_points(encoded, np.array([[crop.size[1] // 2, crop.size[0] // 2]]), np.array([True]))
        finally:
            hook.remove()
        return len(runs)

    def _asked(self, encoded: Encoded, text: str) -> Masks:
        phrase = self._phrases.read(text)
        out = self._model.forward_grounding(
            backbone_out=encoded.with_text(phrase.features, phrase.mask),
            find_input=self._processor.find_stage,
            geometric_prompt=self._no_boxes(),
            find_target=None,
        )
        presence = _finite(out["presence_logit_dec"], "the presence of the phrase").sigmoid()
        masks = Masks(encoded.size, (), np.zeros(0))
        if self._text_mode != "semantic":
            masks = self._instances(out, presence, encoded.size)
        if self._text_mode != "instances" and float(presence) > self._text_threshold:
            masks = _and_region(masks, out["semantic_seg"][0, 0], float(presence))
        return Masks(masks.size, masks.parts, masks.scores, (*masks.notes, *phrase.notes))

    def _instances(self, out: Mapping[str, Any], presence: torch.Tensor, size: Size) -> Masks:
        own = _finite(out["pred_logits"], "the scores of the instances").sigmoid()
        scores = (own * presence.unsqueeze(1)).squeeze(-1)[0]
        kept = (scores > self._text_threshold).nonzero()[:, 0]
        best = scores[kept].sort(descending=True, stable=True)
        logits = _finite(out["pred_masks"][0, kept[best.indices]], "the masks of the instances")
        return instances(logits, best.values.cpu().numpy().astype(np.float64), size)

    def _pointed(self, encoded: Encoded, points: Points, positive: NDArray[np.bool_]) -> Masks:
        # Upstream's predictor does the same after `set_image`, keeping the features of one image at a time.
        sam = self._model.inst_interactive_predictor.model
        x, y = torch.tensor(points, dtype=torch.float32, device=self._device).unbind(dim=1)
        coordinates = torch.stack((x / encoded.size[1], y / encoded.size[0]), dim=1) * sam.image_size
        labels = torch.tensor(positive, dtype=torch.int32, device=self._device)
        sparse, dense = sam.sam_prompt_encoder(points=(coordinates[None], labels[None]), boxes=None, masks=None)
        proposed, predicted, *_ = sam.sam_mask_decoder(
            image_embeddings=encoded.embedding,
            image_pe=sam.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            repeat_image=False,
            high_res_features=list(encoded.details),
        )
        iou = _finite(predicted[0], "the predicted IoU").cpu().numpy()
        best = int(iou.argmax())
        logits = _finite(proposed[0, best], "the mask of the points").cpu().numpy()
        part = outline(torch.from_numpy(filled(logits)).to(self._device), encoded.size)
        return Masks(encoded.size, (part,), iou[best : best + 1].astype(np.float64))

    def _no_boxes(self) -> Any:
        return self._prompt(
            box_embeddings=torch.zeros(0, 1, 4, device=self._device),
            box_mask=torch.zeros(1, 0, device=self._device, dtype=torch.bool),
        )

    def _encoded(self, crop: Crop) -> Encoded:
        image = Image.fromarray(np.ascontiguousarray(crop.pixels))
        return Encoded.of(self._processor.set_image(image), self._model)

    def _run(self, doing: str, job: Callable[..., T], *args: Any) -> T:
        # No closure: who keeps an error would keep its variables, an encoding among them.
        done: T = devices.bounded(self._device, doing, self._inside, job, args)
        return done

    def _inside(self, job: Callable[..., T], args: tuple[Any, ...]) -> T:
        # Without half precision autocast is switched off, in case whoever shares the thread left it on.
        with (
            devices.on(self._device),
            upstream.redirected(self._device),
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._half),
        ):
            return job(*args)


def _corrected(earlier: Mask, added: Masks, removed: Masks) -> Masks:
    """`earlier` with one object and without another; no mask where nothing is left, no score without an object."""
    mask = (earlier | added.union()) & ~removed.union()
    parts = (tight(mask),) if mask.any() else ()
    predicted = np.concatenate([cast("NDArray[np.float64]", found.scores) for found in (added, removed)])
    return Masks(added.size, parts, np.full(len(parts), predicted.mean()) if len(predicted) else None)


def _and_region(masks: Masks, logits: torch.Tensor, presence: float) -> Masks:
    """The masks and one more, of the semantic pixels that none of them has; unchanged where there are no such."""
    whole = region(_finite(logits, "the semantic mask"), masks.size, without=masks.union() if len(masks) else None)
    if whole is None:
        return masks
    scores = np.append(cast("NDArray[np.float64]", masks.scores), presence * whole.probability)
    return Masks(masks.size, (*masks.parts, whole.part), scores, masks.notes)


def _finite(values: torch.Tensor, what: str) -> torch.Tensor:
    """`values` in float32.

    Raises:
        ToolError: some are not finite.
    """
    values = values.float()
    if not torch.isfinite(values).all():
        raise ToolError(
            f"SAM3 gave numbers that are not finite for {what}",
            hint="check the weights; with bfloat16, try float32",
        )
    return values


def _said(size: Size) -> str:
    return f"{size[1]} x {size[0]} pixels"

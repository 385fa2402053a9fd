"""For `tools.py`: the models with random weights, the published order of work over them, and what they compute.

The order is that of the script which the authors of GeoSeg released: the crop goes into a PNG file, SAM3 reads and
encodes it for the points, then reads and encodes it again for the phrase, and nothing runs beside anything. It is
written here over the official `Sam3Processor` and `predict_inst`, on the same models, keypoints and fusion as the
product, so that only the order differs. One thing is kinder than there: one instance of SAM3 serves both routes.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import PIL.Image

try:  # beside a torch without CUDA the usual torchvision does not import
    from torchvision_stub import ensure_torchvision
except ImportError:
    pass
else:
    ensure_torchvision()

import torch
from open_clip import SimpleTokenizer
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from geoseg_tools import Box, Crop, Masks, Scene, devices, fuse, refine, topk_nms, whole
from geoseg_tools.clip_surgery import TABLE, ClipSurgery, build
from geoseg_tools.sam3 import Sam3, upstream
from geoseg_tools.sam3.holes import filled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geoseg_agent import Image
    from geoseg_agent.method import Method

STAGES = ("encode", "similarity", "points", "text")
_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - torch counts the others
_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_TOKENS = ("positional_embedding", "text_projection")  # upstream allocates these and fills them from weights only


class Models(NamedTuple):
    """SAM3 and CLIP without a tool around them, and how the tools are made.

    Attributes:
        name: for the report.
        sam3: the official image model.
        clip: an open_clip model.
        tokenizer: CLIP's.
        device: where both are.
        resolution: side of SAM3's input.
        side: of CLIP's.
        half: SAM3 under autocast to bfloat16.
        compiled: SAM3 by torch.compile.
    """

    name: str
    sam3: Any
    clip: Any
    tokenizer: Any
    device: torch.device
    resolution: int
    side: int
    half: bool = False
    compiled: bool = False

    def matcher(self) -> ClipSurgery:
        """CLIP Surgery with caches of its own, over the same weights; it knows the feature of the empty text."""
        made = ClipSurgery(self.clip, self.tokenizer, side=self.side, device=self.device)
        made.similarity(_blank(), "")
        return made

    def segmenter(self, threshold: float) -> Sam3:
        """The product's SAM3; the weights are shared."""
        return Sam3(
            self.sam3,
            device=self.device,
            resolution=self.resolution,
            text_threshold=threshold,
            precision="bfloat16" if self.half else "float32",
        )


def small() -> Models:
    """The models of the tests: a second or two to build, a tenth of a second to answer; one thread."""
    import tiny_clip  # noqa: PLC0415 - tests/support, which only this mode needs
    import tiny_sam3  # noqa: PLC0415

    words = tiny_clip.Words(tiny_clip.SMALL["text_cfg"]["vocab_size"])
    clip = tiny_clip.random_model(tiny_clip.SMALL)
    return Models("small", tiny_sam3.build(), clip, words, torch.device("cpu"), tiny_sam3.RESOLUTION, 64)


def full(device: torch.device, *, half: bool, compiled: bool) -> Models:
    """Models of the released size with random weights, drawn so that there is something to find."""
    torch.manual_seed(0)
    with devices.on(device):
        sam3 = upstream.build(device, compiled=compiled).requires_grad_(requires_grad=False)
    text = sam3.backbone.language_backbone.encoder
    for name in _TOKENS:
        torch.nn.init.normal_(getattr(text, name), std=0.01)
    # As for the small model of the tests, so that the phrase finds instances; at this size it finds all there can be.
    sam3.transformer.decoder.presence_token_head.layers[-1].bias.add_(3.0)
    sam3.dot_prod_scoring.hs_proj.weight.mul_(8.0)
    entry = TABLE["openai-b16"]
    clip = build(entry).requires_grad_(requires_grad=False).to(device)
    name = f"full, {'bfloat16' if half else 'float32'}{', compiled' if compiled else ''}"
    side = sam3.inst_interactive_predictor.model.image_size
    return Models(name, sam3, clip, SimpleTokenizer(), device, side, entry.side, half=half, compiled=compiled)


class Span(NamedTuple):
    """When a stage ran, and the masks it gave, if any."""

    stage: str
    began: float
    ended: float
    masks: Masks | None


class Watched:
    """A tool that notes when each of its stages ran, on the thread of its lane: what a trace calls `took`.

    On an accelerator it waits for the device before it notes the end; else what was only begun would count as done.
    """

    def __init__(self, tool: Any, device: torch.device, spans: list[Span]) -> None:
        self._tool, self._device, self._spans = tool, device, spans

    def encode(self, crop: Crop) -> Any:
        return self._noted("encode", lambda: self._tool.encode(crop))

    def similarity(self, crop: Crop, phrase: str) -> Any:
        return self._noted("similarity", lambda: self._tool.similarity(crop, phrase))

    def from_points(self, *asked: Any) -> Any:
        return self._noted("points", lambda: self._tool.from_points(*asked))

    def from_text(self, *asked: Any) -> Any:
        return self._noted("text", lambda: self._tool.from_text(*asked))

    def _noted(self, stage: str, job: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        made = job()
        wait_for(self._device)
        self._spans.append(Span(stage, began, time.perf_counter(), made if isinstance(made, Masks) else None))
        return made


class Answer(NamedTuple):
    """What came of a query.

    Attributes:
        points: (h, w) bool, route A in the frame of the region.
        text: (h, w) bool, route B.
        mask: (h, w) bool, both fused.
        found: instances that the phrase found.
        seconds: by stage; "query" is all of it, "file" the PNG.
    """

    points: np.ndarray
    text: np.ndarray
    mask: np.ndarray
    found: int
    seconds: dict[str, float]


class Reference:
    """The published order of work.

    Args:
        models: with which.
        method: its constants.
        folder: for the PNG file.
        threshold: score over which an instance of the phrase counts.
    """

    def __init__(self, models: Models, method: Method, folder: Path, threshold: float) -> None:
        from sam3.model.sam3_image_processor import Sam3Processor  # noqa: PLC0415 - not before upstream.prepare()

        self._models, self._method = models, method
        self._file = folder / "crop.png"
        self._processor = Sam3Processor(
            models.sam3, resolution=models.resolution, device=models.device, confidence_threshold=threshold
        )
        self._matcher = models.matcher()
        self._queries = 0

    def query(self, image: Image, box: Box, phrase: str) -> Answer:
        """One query, from box and phrase to mask."""
        seconds = dict.fromkeys(("file", *STAGES), 0.0)
        device, method = self._models.device, self._method
        self._queries += 1

        @contextmanager
        def stage(name: str) -> Iterator[None]:
            began = time.perf_counter()
            yield
            wait_for(device)
            seconds[name] += time.perf_counter() - began

        began = time.perf_counter()
        roi = refine(box, image.size, method.alpha, method.beta, rounding=method.rounding, min_side=method.min_crop)
        with (
            devices.on(device),
            upstream.redirected(device),
            torch.inference_mode(),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._models.half),
        ):
            with stage("file"):
                PIL.Image.fromarray(np.ascontiguousarray(image.pixels[roi.slices])).save(self._file)
            with stage("similarity"):
                heat = self._matcher.similarity(self._read_crop(), phrase)
            keypoints = topk_nms(heat, roi.size, method.k, method.tau, normalise=method.heat_norm)
            with stage("encode"):
                state = self._processor.set_image(self._read())
            with stage("points"):
                masks, iou, coarse = self._models.sam3.predict_inst(
                    state,
                    point_coords=keypoints.points.copy(),
                    point_labels=np.ones(len(keypoints), dtype=np.int64),
                    multimask_output=True,
                )
            best = int(iou.argmax())
            by_points = masks[best] > 0
            with stage("encode"):
                state = self._processor.set_image(self._read())
            with stage("text"):
                named = self._processor.set_text_prompt(phrase, state)["masks"][:, 0]
                by_text = named.any(dim=0).cpu().numpy() if len(named) else np.zeros(roi.size, dtype=np.bool_)
        mask = fuse(by_points, by_text, has_keypoints=len(keypoints) > 0, gamma=method.gamma).mask
        seconds["query"] = time.perf_counter() - began
        if not fills_holes(device):
            by_points = self._filled(coarse[best], roi.size)
            mask = fuse(by_points, by_text, has_keypoints=len(keypoints) > 0, gamma=method.gamma).mask
        return Answer(by_points, by_text, mask, len(named), seconds)

    def _read(self) -> PIL.Image.Image:
        with PIL.Image.open(self._file) as file:
            return file.convert("RGB")

    def _read_crop(self) -> Crop:
        pixels = np.asarray(self._read()).copy()
        scene = Scene(pixels.shape[:2], f"file {self._queries}", pixels)
        return Crop(scene, whole(scene.size), whole(scene.size))

    def _filled(self, logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        high = torch.nn.functional.interpolate(
            torch.from_numpy(filled(logits))[None, None], size, mode="bilinear", align_corners=False
        )
        return np.asarray(high[0, 0].numpy() > 0)


def fills_holes(device: torch.device) -> bool:
    """Whether upstream fills small holes here: on CUDA, and where scikit-image is installed."""
    try:
        import skimage  # noqa: F401, PLC0415 - not needed for anything else
    except ImportError:
        return device.type == "cuda"
    return True


class Passes:
    """Counts how often SAM3's image backbone ran."""

    def __init__(self, models: Models) -> None:
        self.count = 0
        models.sam3.backbone.vision_backbone.trunk.register_forward_hook(self._one_more)

    def _one_more(self, *_: object) -> None:
        self.count += 1

    def taken(self) -> int:
        """How many since the last time."""
        count, self.count = self.count, 0
        return count


def wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was given; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Cost(NamedTuple):
    """What the stages take, whoever calls them.

    Attributes:
        operations: floating-point operations by stage, those of products and convolutions; none where SAM3 is
            compiled, for a compiled kernel tells nobody what it computes.
        encoding: bytes that one encoding keeps.
    """

    operations: dict[str, int]
    encoding: int


def cost(models: Models, crop: Crop, threshold: float) -> Cost:
    """Run every stage once and count; this also warms the models up."""
    matcher, segmenter = models.matcher(), models.segmenter(threshold)
    points, positive = np.array([[crop.size[1] // 2, crop.size[0] // 2]]), np.array([True])
    counts: dict[str, int] = {}

    def counted(stage: str, job: Callable[[], Any]) -> Any:
        if models.compiled:
            return job()
        with FlopCounterMode(display=False, custom_mapping={_CPU_ATTENTION: _attention}) as counter:
            made = job()
        counts[stage] = counter.get_total_flops()
        return made

    counted("similarity", lambda: matcher.similarity(crop, "warm up"))
    encoded = counted("encode", lambda: segmenter.encode(crop))
    counted("points", lambda: segmenter.from_points(encoded, points, positive))
    counted("text", lambda: segmenter.from_text(encoded, "warm up"))
    wait_for(models.device)
    tensors = (*encoded.pyramid, *encoded.positions, encoded.embedding, *encoded.details)
    held = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return Cost(counts, sum(held.values()))


def ceiling(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """The most operations a second that a square product reaches here: the best of five."""
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(6):
        wait_for(device)
        began = time.perf_counter()
        torch.mm(one, other)
        wait_for(device)
        best = max(best, 2 * side**3 / (time.perf_counter() - began))
    return best


def forget_peak(device: torch.device) -> None:
    """Let the peak of `peak_mib` start anew, where that is possible: on CUDA and on Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _REFS.exists():
        _REFS.write_text("5", encoding="ascii")


def peak_mib(device: torch.device) -> float:
    """The most memory held since `forget_peak`: the device's where it is CUDA, else this process's."""
    if device.type != "cuda" and _STATUS.exists():
        line = next(one for one in _STATUS.read_text(encoding="ascii").splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return devices.peak_of(device) / 2**20


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _blank() -> Crop:
    scene = Scene((16, 16), "blank", np.full((16, 16, 3), 127, dtype=np.uint8))
    return Crop(scene, whole(scene.size), whole(scene.size))

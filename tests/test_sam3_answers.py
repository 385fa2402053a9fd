"""What `Sam3` makes of what the model says, also where it says something odd."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_sam3

if tiny_sam3.MISSING:
    pytest.skip(f"needs {', '.join(tiny_sam3.MISSING)}", allow_module_level=True)

import torch

from geoseg_tools import Crop, MemoryExhausted, Scene, ToolError, whole
from geoseg_tools.sam3 import Sam3

CPU = torch.device("cpu")
SIZE = (40, 30)
SURE, UNSURE = 10.0, -10.0


class Model:
    """Stands where the official model stands and says what it is told to; features mean nothing."""

    num_feature_levels = 1

    def __init__(self, **said):
        self.said = {
            "presence": SURE,
            "logits": [],
            "masks": np.zeros((0, 8, 8)),
            "semantic": np.full((8, 8), UNSURE),
        }
        self.said |= {"iou": [0.1, 0.9, 0.2], "proposed": np.zeros((3, 8, 8))} | said
        self.backbone = self
        self.language_backbone = SimpleNamespace(context_length=32, tokenizer=SimpleNamespace(encode=str.split))
        self.inst_interactive_predictor = SimpleNamespace(model=self)
        self.sam_mask_decoder = self._decode
        self._decode.__func__.conv_s0 = self._decode.__func__.conv_s1 = lambda features: features
        self.sam_prompt_encoder = self._prompt
        self._prompt.__func__.get_dense_pe = lambda: None
        self.no_mem_embed = torch.zeros(1, 1, 4)
        self.image_size = 112
        self.read = []

    def forward_image(self, image):
        levels = [torch.zeros(1, 4, side, side) for side in (8, 4, 2)]
        return {"backbone_fpn": levels, "vision_pos_enc": levels, "sam2_backbone_out": {"backbone_fpn": list(levels)}}

    def forward_text(self, texts, device):
        self.read += texts
        return {"language_features": torch.zeros(32, 1, 4), "language_mask": torch.zeros(1, 32, dtype=torch.bool)}

    def forward_grounding(self, **_):
        if isinstance(self.said["presence"], Exception):
            raise self.said["presence"]
        return {
            "presence_logit_dec": torch.tensor([[self.said["presence"]]], dtype=torch.float32),
            "pred_logits": torch.tensor(self.said["logits"], dtype=torch.float32).reshape(1, -1, 1),
            "pred_masks": torch.tensor(np.array(self.said["masks"]), dtype=torch.float32)[None],
            "semantic_seg": torch.tensor(self.said["semantic"], dtype=torch.float32)[None, None],
        }

    def _prompt(self, **_):
        return None, None

    def _decode(self, **_):
        iou = torch.tensor([self.said["iou"]], dtype=torch.float32)
        return torch.tensor(self.said["proposed"], dtype=torch.float32)[None], iou, None, None


def crop():
    scene = Scene(SIZE, "scene", np.zeros((*SIZE, 3), dtype=np.uint8))
    return Crop(scene, whole(SIZE), whole(SIZE))


def ask(model, phrase="water", **options):
    by = Sam3(model, device=CPU, resolution=112, **options)
    return by.from_text(by.encode(crop()), phrase)


def point(model):
    by = Sam3(model, device=CPU, resolution=112)
    return by.from_points(by.encode(crop()), np.array([[3, 4]]), np.array([True]))


def halves():
    """Three instances: the left half, the top half, everything."""
    masks = np.full((3, 8, 8), UNSURE)
    masks[0, :, :4] = masks[1, :4] = masks[2] = SURE
    return masks


def logit(p):
    return float(np.log(p / (1 - p)))


def test_scores_are_products_and_fall():
    masks = ask(Model(presence=logit(0.9), logits=[logit(0.6), logit(0.9), logit(0.5)], masks=halves()))
    assert masks.scores == pytest.approx([0.81, 0.54])
    assert masks.masks[0, :18].all()
    assert not masks.masks[0, 22:].any()
    assert masks.masks[1, :, :13].all()
    assert not masks.masks[1, :, 17:].any()


def test_equal_scores_keep_the_order_of_the_model():
    masks = ask(Model(logits=[1.0, 2.0, 1.0], masks=halves()))
    assert [mask.mean() for mask in masks.masks] == pytest.approx([0.5, 0.5, 1.0], abs=0.05)
    assert masks.masks[1, :, 0].all()
    assert not masks.masks[0, :, 0].all()


def test_the_threshold_is_a_parameter_and_exclusive():
    model = Model(presence=100.0, logits=[0.0, 1.0], masks=halves()[:2])
    assert len(ask(model)) == 1
    assert len(ask(model, text_threshold=0.49)) == 2


def test_nothing_found_is_an_answer():
    for model in (Model(logits=[-5.0] * 3, masks=halves()), Model(presence=-5.0, logits=[5.0] * 3, masks=halves())):
        for mode in ("instances", "semantic", "both"):
            masks = ask(model, text_mode=mode)
            assert (len(masks), masks.size, masks.scores.shape, masks.notes) == (0, SIZE, (0,), ())


def test_semantic_is_one_mask_scored_by_presence_and_pixels():
    semantic = np.full((8, 8), logit(0.2))
    semantic[2:6, 2:6] = logit(0.9)
    model = Model(presence=logit(0.8), logits=[5.0] * 3, masks=halves(), semantic=semantic)
    masks = ask(model, text_mode="semantic")
    assert len(masks) == 1
    assert 0.8 * 0.6 < masks.scores[0] < 0.8 * 0.9
    assert masks.masks[0, 20, 15]
    assert not masks.masks[0, 0, 0]
    assert len(ask(model, text_mode="semantic", text_threshold=0.85)) == 0


def test_both_is_the_instances_and_what_they_miss():
    semantic = np.full((8, 8), UNSURE)
    semantic[:, :6] = SURE
    said = {"logits": [5.0], "masks": halves()[:1], "semantic": semantic}
    masks = ask(Model(**said), text_mode="both")
    assert len(masks) == 2
    assert not masks.masks.all(axis=0).any()
    alone = ask(Model(**said), text_mode="semantic")
    assert np.array_equal(masks.masks.any(axis=0), alone.masks[0] | masks.masks[0])
    assert masks.scores == pytest.approx([0.993, 0.99], abs=0.01)
    assert masks.scores[1] != pytest.approx(alone.scores[0], abs=1e-9)  # of other pixels
    covered = ask(Model(**said | {"semantic": halves()[0]}), text_mode="both")
    assert len(covered) == 1
    unlikely = ask(Model(**said, presence=logit(0.55)), text_mode="both", text_threshold=0.56)
    assert len(unlikely) == 0
    only = ask(Model(semantic=semantic), text_mode="both")
    assert np.array_equal(only.masks, alone.masks)


def test_a_thousand_instances():
    masks = np.full((1000, 8, 8), UNSURE)
    for i, one in enumerate(masks):
        one[divmod(i % 64, 8)] = SURE
    scores = np.linspace(0.99, 0.6, 1000)
    found = ask(Model(logits=[logit(p) for p in scores], masks=masks))
    assert len(found) == 1000
    assert found.scores == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_by_name(bad):
    masks, semantic = halves(), np.zeros((8, 8))
    masks[1, 3, 3] = semantic[0, 0] = bad
    with pytest.raises(ToolError, match="not finite for the presence of the phrase"):
        ask(Model(presence=bad))
    with pytest.raises(ToolError, match="not finite for the scores of the instances"):
        ask(Model(logits=[1.0, bad, 2.0], masks=halves()))
    with pytest.raises(ToolError, match="not finite for the masks of the instances"):
        ask(Model(logits=[1.0, 1.0, 2.0], masks=masks))
    with pytest.raises(ToolError, match="not finite for the semantic mask"):
        ask(Model(semantic=semantic), text_mode="semantic")
    with pytest.raises(ToolError, match="not finite for the predicted IoU"):
        point(Model(iou=[0.2, 0.1, bad]))
    with pytest.raises(ToolError, match="not finite for the mask of the points"):
        point(Model(proposed=np.stack([np.zeros((8, 8)), semantic, np.zeros((8, 8))])))


def test_of_three_proposals_the_best_is_taken():
    found = point(Model(iou=[0.2, 0.7, 0.69], proposed=np.stack([-halves()[2], halves()[2], -halves()[2]])))
    assert found.masks.all()
    assert found.scores == pytest.approx([0.7])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.07 GB)"),
        MemoryError(),
    ],
)
def test_the_call_after_one_that_ran_out_of_memory_works(error):
    model = Model(presence=error, logits=[5.0] * 3, masks=halves())
    by = Sam3(model, device=CPU, resolution=112)
    encoded = by.encode(crop())
    with pytest.raises(MemoryExhausted, match="cpu ran out of memory while answering a phrase on a crop of 30 x 40"):
        by.from_text(encoded, "water")
    model.said["presence"] = SURE
    assert len(by.from_text(encoded, "water")) == 3
    model.said["presence"] = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        by.from_text(encoded, "water")


def test_only_the_last_phrases_are_remembered():
    model = Model()
    by = Sam3(model, device=CPU, resolution=112)
    encoded = by.encode(crop())
    for i in range(100):
        by.from_text(encoded, f"phrase {i}")
        by.from_text(encoded, "often")
    assert model.read.count("often") == 1
    assert len(model.read) == 101
    by.from_text(encoded, "phrase 99")
    assert len(model.read) == 101
    by.from_text(encoded, "phrase 0")
    assert len(model.read) == 102
    assert len(by._phrases) == 64


def corrected(earlier, positive):
    """What points make of an earlier mask; the model knows one object, the left half."""
    left = np.full((3, 64, 64), UNSURE)
    left[:, :, :32] = SURE
    by = Sam3(Model(proposed=left, iou=[0.9, 0.1, 0.2]), device=CPU, resolution=112)
    points = np.array([[3, 4], [20, 30]])[: len(positive)]
    return by.from_points(by.encode(crop()), points, np.array(positive, dtype=np.bool_), earlier)


def test_positive_points_add_their_object_to_an_earlier_mask():
    earlier = np.zeros(SIZE, dtype=np.bool_)
    earlier[:, 25:] = True
    masks = corrected(earlier, [True])
    assert masks.masks.shape == (1, *SIZE)
    assert masks.scores == pytest.approx([0.9])
    assert masks.masks[0, :, :13].all()
    assert masks.masks[0, :, 25:].all()
    assert not masks.masks[0, :, 18:25].any()


def test_negative_points_alone_take_their_object_from_an_earlier_mask():
    masks = corrected(np.ones(SIZE, dtype=np.bool_), [False])
    assert not masks.masks[0, :, :13].any()
    assert masks.masks[0, :, 18:].all()
    assert masks.scores == pytest.approx([0.9])


def test_the_points_of_one_side_speak_against_the_object_of_the_other():
    model = Model(proposed=halves())
    asked = []
    model.sam_prompt_encoder = _Heard(asked)
    by = Sam3(model, device=CPU, resolution=112)
    by.from_points(by.encode(crop()), np.array([[3, 4], [20, 30]]), np.array([True, False]), np.ones(SIZE, np.bool_))
    assert [labels.tolist() for labels in asked] == [[[1, 0]], [[0, 1]]]


class _Heard:
    """A prompt encoder that keeps the labels of the points."""

    def __init__(self, labels):
        self.labels = labels

    def __call__(self, points, **_):
        self.labels.append(points[1])
        return None, None

    def get_dense_pe(self):
        return None


def test_an_earlier_mask_without_points_stays_as_it_is_and_has_no_score():
    earlier = np.zeros(SIZE, dtype=np.bool_)
    earlier[3:9, 5:20] = True
    masks = corrected(earlier, [])
    assert np.array_equal(masks.masks[0], earlier)
    assert masks.scores is None


def test_an_earlier_mask_that_loses_everything_is_none():
    earlier = np.zeros(SIZE, dtype=np.bool_)
    earlier[:, :10] = True
    masks = corrected(earlier, [False])
    assert masks.masks.shape == (0, *SIZE)
    assert len(masks.scores) == 0

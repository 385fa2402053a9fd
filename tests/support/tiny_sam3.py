"""A SAM3 of 28 million parameters, from the official classes and the official builder: every part is there, smaller.

It works at 112 x 112 pixels and answers in a tenth of a second. Its weights are random, so it finds nothing in
particular; they are drawn so that the answers are worth comparing, see `_lively`. Points are answered with masks that
depend on points and picture and are neither empty nor full with seed 0; with some other seeds they are full.

Importable without the models: `MISSING` then says which packages are not there, and nothing else of this module can
be used.
"""

import copy
import os
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from unittest import mock

MISSING = tuple(name for name in ("torch", "torchvision", "sam3", "open_clip", "psutil") if find_spec(name) is None)
RESOLUTION = 112
QUERIES = 20
TRACKER = "inst_interactive_predictor.model."

# Beside a CPU build of torch, torchvision has only a Python roi_align, which it compiles for each shape: 5 to 14 s.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

if not MISSING:
    import torch
    from torchvision_stub import ensure_torchvision

    ensure_torchvision()
    torch.set_num_threads(1)

    from geoseg_tools.sam3 import Sam3, upstream

    upstream.prepare()

    from sam3 import model_builder
    from sam3.model.text_encoder_ve import VETextEncoder
    from sam3.model.tokenizer_ve import SimpleTokenizer
    from sam3.model.vitdet import ViT


def sam3(seed=0, *, changed=None, **options):
    """A `Sam3` on the CPU; the same seed gives the same weights. `options` go to `Sam3`, `changed` sees the model."""
    model = build(seed)
    if changed is not None:
        changed(model)
    return Sam3(model, device=torch.device("cpu"), resolution=RESOLUTION, **options)


def build(seed=0):
    """The official image model with random weights, in evaluation mode, without gradients."""
    with small(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = upstream.build(torch.device("cpu"), compiled=False).requires_grad_(requires_grad=False)
        _lively(model)
    # Upstream's own points assume 1008 x 1008; ours do not read this.
    model.inst_interactive_predictor._bb_feat_sizes = [(32, 32), (16, 16), (8, 8)]
    return model


@lru_cache(maxsize=1)
def _built(seed):
    return build(seed)


def sharing(seed=0, **options):
    """As `sam3`, with weights and vocabulary of all the others of this seed: for those who leave them as they are."""
    model = _built(seed)
    tokenizer = model.backbone.language_backbone.tokenizer
    shared = {id(part): part for part in (*model.parameters(), *model.buffers(), tokenizer)}
    return Sam3(copy.deepcopy(model, shared), device=torch.device("cpu"), resolution=RESOLUTION, **options)


def build_video(seed=0):
    """The official video model, which is what the released file is of."""
    with small(), upstream.redirected(torch.device("cpu")), torch.random.fork_rng():
        torch.manual_seed(seed)
        upstream.prepare()
        model = model_builder.build_sam3_video_model(
            bpe_path=str(upstream.vocabulary()), device="cpu", load_from_HF=False
        )
        model.tracker.bf16_context.__exit__(None, None, None)
        return model


def official(model):
    """`model`'s tensors under the names of the released file."""
    return {
        f"tracker.{name.removeprefix(TRACKER)}" if name.startswith(TRACKER) else f"detector.{name}": tensor
        for name, tensor in model.state_dict().items()
    }


def save_checkpoint(path, seed=0):
    """Write what `build(seed)` has into `path`, in the released file's format; the path."""
    torch.save({"model": official(build(seed))}, path)
    return path


@contextmanager
def small():
    """Inside the block the official builders make a small model; nothing else about them changes."""
    names = {
        "_create_vit_backbone": _vit,
        "_create_text_encoder": _text_encoder,
        "Sam3TrackerPredictor": _but(model_builder.Sam3TrackerPredictor, image_size=RESOLUTION),
        "TransformerDecoder": _but(
            model_builder.TransformerDecoder, resolution=None, num_layers=1, num_queries=QUERIES
        ),
        "TransformerEncoderCrossAttention": _but(model_builder.TransformerEncoderCrossAttention, num_layers=1),
        "TransformerEncoderFusion": _but(model_builder.TransformerEncoderFusion, num_layers=1),
        "SequenceGeometryEncoder": _but(model_builder.SequenceGeometryEncoder, num_layers=1),
    }
    with mock.patch.multiple(model_builder, **names):
        yield


def _but(made, **fixed):
    return lambda **given: made(**{**given, **fixed})


def _vit(compile_mode=None):
    return ViT(
        img_size=RESOLUTION,
        pretrain_img_size=RESOLUTION,
        patch_size=14,
        embed_dim=32,
        depth=2,
        num_heads=2,
        mlp_ratio=2,
        norm_layer="LayerNorm",
        drop_path_rate=0.1,
        qkv_bias=True,
        use_abs_pos=True,
        tile_abs_pos=True,
        global_att_blocks=(1,),
        rel_pos_blocks=(),
        use_rope=True,
        use_interp_rope=True,
        window_size=4,
        pretrain_use_cls_token=True,
        retain_cls_token=False,
        ln_pre=True,
        ln_post=False,
        return_interm_layers=False,
        bias_patch_embed=False,
        compile_mode=compile_mode,
    )


def _text_encoder(bpe_path):
    return VETextEncoder(tokenizer=SimpleTokenizer(bpe_path=bpe_path), d_model=256, width=64, heads=2, layers=1)


def _lively(model):
    text = model.backbone.language_backbone.encoder
    for empty in (text.positional_embedding, text.text_projection):  # upstream never fills these
        torch.nn.init.normal_(empty, std=0.01)
    # As drawn, every instance scores between 0.2 and 0.4. With a phrase that is likely there, and instances less like
    # each other, some are over the official threshold of 0.5 and some are not; masks vary enough by themselves.
    model.transformer.decoder.presence_token_head.layers[-1].bias.add_(3.0)
    model.dot_prod_scoring.hs_proj.weight.mul_(8.0)

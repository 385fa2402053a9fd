"""The surgered encoder: a slow transcription of its equations, what it must not touch, and what it refuses."""

from importlib.util import find_spec

import pytest

if not all(map(find_spec, ("torch", "torchvision", "open_clip"))):
    pytest.skip("torch, torchvision and open_clip are not all installed", allow_module_level=True)

import math

import numpy as np
import torch
from tiny_clip import AWKWARD, CLIP, SMALL, noise, open_clip, random_model

from geoseg_tools import ModelError, ToolError
from geoseg_tools.clip_surgery import check_tower, compare_phrases, encode, native_size, normalise, prepare


def vision(**changes):
    return {**SMALL, "vision_cfg": {**SMALL["vision_cfg"], **changes}}


def sized(height, width, seed=0, count=1):
    return torch.cat([prepare(noise((70, 50), seed + i), (height, width)) for i in range(count)])


# The slow transcription: one token, one head, one number at a time, in float64.


def layer_norm(x, weight, bias):
    mean, var = x.mean(), ((x - x.mean()) ** 2).mean()
    return (x - mean) / math.sqrt(var + 1e-5) * weight + bias


def gelu(x, quick):
    if quick:
        return x / (1 + np.exp(-1.702 * x))
    return np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])


def table_for(stored, native, grid):
    rows = [stored[0]]
    for r in range(grid[0]):
        for c in range(grid[1]):
            places = []
            for at, old, new in ((r, native[0], grid[0]), (c, native[1], grid[1])):
                centre = max((at + 0.5) * old / new - 0.5, 0)
                low = min(int(centre), old - 1)
                places.append((low, min(low + 1, old - 1), centre - low))
            (r0, r1, fr), (c0, c1, fc) = places
            cell = lambda i, j: stored[1 + i * native[1] + j]  # noqa: E731
            upper = cell(r0, c0) * (1 - fc) + cell(r0, c1) * fc
            lower = cell(r1, c0) * (1 - fc) + cell(r1, c1) * fc
            rows.append(upper * (1 - fr) + lower * fr)
    return rows


def attend(asking, asked, values, heads):
    width = len(values[0])
    d = width // heads
    out = []
    for query in asking:
        row = np.zeros(width)
        for head in range(heads):
            part = slice(head * d, (head + 1) * d)
            scores = np.array([query[part] @ key[part] / math.sqrt(d) for key in asked])
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            row[part] = sum(share * value[part] for share, value in zip(shares, values, strict=True))
        out.append(row)
    return out


def encoded_slowly(weights, image, config):
    """(1 + N, E) for one (3, h, w) picture."""
    w = {name: tensor.double().numpy() for name, tensor in weights.items()}
    settings = config["vision_cfg"]
    patch, heads = settings["patch_size"], settings["width"] // settings["head_width"]
    sides = np.broadcast_to(settings["image_size"], 2)
    gh, gw = image.shape[1] // patch, image.shape[2] // patch
    table = table_for(w["visual.positional_embedding"], [int(side) // patch for side in sides], (gh, gw))
    z = [w["visual.class_embedding"] + table[0]]
    for r in range(gh):
        for c in range(gw):
            pixels = image[:, r * patch : (r + 1) * patch, c * patch : (c + 1) * patch]
            z.append((w["visual.conv1.weight"] * pixels).sum(axis=(1, 2, 3)) + table[len(z)])
    if not settings.get("no_ln_pre"):
        z = [layer_norm(t, w["visual.ln_pre.weight"], w["visual.ln_pre.bias"]) for t in z]
    o, s = z, None
    for layer in range(settings["layers"]):
        p = f"visual.transformer.resblocks.{layer}."
        g = [w.get(f"{p}ls_{i}.gamma", 1.0) for i in (1, 2)]
        if layer == settings["layers"] - 6:
            s = [t.copy() for t in o]
        x = [layer_norm(t, w[p + "ln_1.weight"], w[p + "ln_1.bias"]) for t in o]
        qkv = [w[p + "attn.in_proj_weight"] @ t + w[p + "attn.in_proj_bias"] for t in x]
        q, k, v = zip(*[np.split(t, 3) for t in qkv], strict=True)
        out = lambda t, p=p: w[p + "attn.out_proj.weight"] @ t + w[p + "attn.out_proj.bias"]  # noqa: E731
        if s is not None:
            s = [t + g[0] * out(r) for t, r in zip(s, attend(v, v, v, heads), strict=True)]
        o = [t + g[0] * out(r) for t, r in zip(o, attend(q, k, v, heads), strict=True)]
        hidden = [
            gelu(
                w[p + "mlp.c_fc.weight"] @ layer_norm(t, w[p + "ln_2.weight"], w[p + "ln_2.bias"])
                + w[p + "mlp.c_fc.bias"],
                config["quick_gelu"],
            )
            for t in o
        ]
        o = [
            t + g[1] * (w[p + "mlp.c_proj.weight"] @ h + w[p + "mlp.c_proj.bias"])
            for t, h in zip(o, hidden, strict=True)
        ]
    y = [o[0], *s[1:]]
    return np.array(
        [layer_norm(t, w["visual.ln_post.weight"], w["visual.ln_post.bias"]) @ w["visual.proj"] for t in y]
    )


@pytest.mark.parametrize(
    ("config", "size"),
    [(AWKWARD, (36, 48)), (AWKWARD, (48, 24)), (AWKWARD, (12, 84)), (SMALL, (32, 40)), (vision(layers=9), (24, 24))],
    ids=["awkward native", "awkward tall", "awkward strip", "six layers", "nine layers"],
)
def test_the_encoder_is_the_slow_transcription(config, size):
    model, images = random_model(config, seed=5), sized(*size, count=2)
    expected = np.stack([encoded_slowly(model.state_dict(), image.double().numpy(), config) for image in images])

    single = encode(model.visual, images).tokens
    exact = encode(model.double().visual, images.double()).tokens

    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=5e-5)
    np.testing.assert_allclose(exact, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("config", [SMALL, AWKWARD, vision(block_type="custom")], ids=["small", "awkward", "custom"])
def test_the_class_token_is_what_the_plain_encoder_gives(config):
    model = random_model(config, seed=1)
    images = sized(*native_size(model.visual), count=3)
    with torch.inference_mode():
        plain = model.encode_image(images)

    surgered = encode(model.visual, images)

    np.testing.assert_allclose(surgered.tokens[:, 0], plain, rtol=0, atol=2e-5)
    with torch.inference_mode():  # nothing was rewired
        assert torch.equal(model.encode_image(images), plain)


@pytest.mark.parametrize(("dtype", "share"), [(torch.float16, 0.02), (torch.bfloat16, 0.15)])
def test_half_weights_give_float32_similarities_near_those_of_full_ones(dtype, share):
    full = random_model(SMALL, seed=2)
    half = random_model(SMALL, seed=2, cast_dtype=dtype)
    open_clip.convert_weights_to_lp(half, dtype=dtype)
    images, texts = sized(64, 80), normalise(torch.randn(3, 16, generator=torch.Generator().manual_seed(0)))

    found = encode(half.visual, images)
    maps = [compare_phrases(normalise(encode(m.visual, images).tokens), texts[1:], texts[0]) for m in (half, full)]

    assert found.tokens.dtype == dtype
    assert {found.dtype for found in maps} == {torch.float32}
    assert (maps[0] - maps[1]).abs().max() < share * (maps[1].max() - maps[1].min())
    assert half.visual.positional_embedding.dtype == torch.float32


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 60, 64),
        torch.zeros(1, 3, 64, 4),
        torch.zeros(1, 3, 0, 64),
        torch.zeros(1, 1, 64, 64),
        torch.zeros(3, 64, 64),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
    ],
    ids=["rest", "under a patch", "empty", "grey", "no batch", "integers"],
)
def test_inputs_of_another_shape_are_refused(images):
    with pytest.raises(ToolError, match=r"patches|float"):
        encode(random_model(SMALL).visual, images)


def without_projection():
    model = CLIP(**SMALL)
    model.visual.proj = None
    return model


def with_a_cut_table():
    model = CLIP(**SMALL)
    model.visual.positional_embedding = torch.nn.Parameter(torch.zeros(64, 32))
    return model


REFUSED = {
    "timm": (lambda: CLIP(**vision(timm_model_name="test_vit", image_size=160)), "timm tower"),
    "resnet": (lambda: CLIP(**vision(layers=(1, 1, 1, 1), width=8, head_width=64)), "ResNet"),
    "attention pool": (
        lambda: CLIP(**vision(attentional_pool=True, attn_pooler_heads=2, attn_pooler_queries=4)),
        "by attention",
    ),
    "coca": (
        lambda: CLIP(**vision(attentional_pool="parallel", attn_pooler_heads=2, attn_pooler_queries=4)),
        "by attention",
    ),
    "average pool": (lambda: CLIP(**vision(pool_type="avg")), "pooled as 'avg'"),
    "five layers": (lambda: CLIP(**vision(layers=5)), "5 layers"),
    "late norm": (lambda: CLIP(**vision(final_ln_after_pool=True)), "final_ln_after_pool"),
    "no projection": (without_projection, "proj is None"),
    "table": (with_a_cut_table, "64 rows for a grid of 8 x 8"),
    "pure float16": (lambda: CLIP(**SMALL).half(), "layer norms are torch.float16"),
    "pure bfloat16": (lambda: CLIP(**SMALL).bfloat16(), "layer norms are torch.bfloat16"),
    "qk norm": (lambda: CLIP(**vision(qk_norm=True)), "layer 0 normalises its queries"),
    "cosine": (lambda: CLIP(**vision(scaled_cosine_attn=True)), "scaled cosine"),
    "head scale": (lambda: CLIP(**vision(scale_heads=True)), "scales its heads"),
    "inner norm": (lambda: CLIP(**vision(scale_attn_inner=True)), "attended values"),
    "norm behind": (lambda: CLIP(**vision(scale_attn=True)), "behind its attention"),
    "norm inside": (lambda: CLIP(**vision(scale_fc=True)), "inside its feed-forward"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_towers_that_the_surgery_does_not_know_are_refused_by_name(name):
    make, said = REFUSED[name]
    model = make()
    for use in (lambda: check_tower(model.visual), lambda: encode(model.visual, torch.zeros(1, 3, 64, 64))):
        with pytest.raises(ModelError, match=said) as caught:
            use()
        assert "ViT-B-16" in caught.value.hint


@pytest.mark.parametrize("tower", [torch.nn.Linear(2, 2), None])
def test_what_is_no_tower_at_all_is_refused_too(tower):
    with pytest.raises(ModelError, match="conv1"):
        check_tower(tower)

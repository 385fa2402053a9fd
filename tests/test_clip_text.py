"""Prompt ensembles: templates, the features that are kept, and phrases that are too long."""

from importlib.util import find_spec

import pytest

if not all(map(find_spec, ("torch", "torchvision", "open_clip"))):
    pytest.skip("torch, torchvision and open_clip are not all installed", allow_module_level=True)

import numpy as np
import torch
from tiny_clip import SMALL, Words, open_clip, random_model

from geoseg_tools import ModelError, ToolError
from geoseg_tools.clip_surgery import AERIAL, IMAGENET, TEMPLATES, LongPhraseWarning, Texts, fill, templates_of

CPU = torch.device("cpu")
THREE = ("{}", "a {}.", "the {} from above.")


class Counted(Words):
    """Remembers how many prompts each call had."""

    def __init__(self, vocabulary=512):
        super().__init__(vocabulary)
        self.calls = []

    def __call__(self, texts, context_length):
        self.calls.append(len(texts))
        return super().__call__(texts, context_length)


def small(tokenizer=None, **options):
    return Texts(random_model(SMALL, seed=7), tokenizer or Counted(), CPU, **options)


def test_the_sets_are_known_by_name():
    assert templates_of("imagenet") is IMAGENET
    assert templates_of("aerial") is AERIAL
    assert templates_of(THREE) == THREE
    for sentences in TEMPLATES.values():
        assert len(set(sentences)) == len(sentences)
        assert templates_of(sentences) == sentences
    assert [fill("{}") for fill in open_clip.OPENAI_IMAGENET_TEMPLATES] == list(IMAGENET[:80])
    assert not set(AERIAL) & set(IMAGENET[:80])


@pytest.mark.parametrize("bad", ["imagnet", (), ("no place",), ("{} and {}",), ("{0}",)])
def test_templates_without_exactly_one_place_are_refused(bad):
    with pytest.raises(ModelError):
        templates_of(bad)


def test_braces_in_a_phrase_mean_nothing():
    assert fill(("a {}.",), "{} {0} {x") == ["a {} {0} {x."]


@pytest.mark.parametrize("text", ["storage tank", ""])
def test_the_ensemble_is_the_normalised_mean_of_normalised_prompts(text):
    texts = small()
    prompts = [sentence.replace("{}", text) for sentence in THREE]
    raw = texts.encode(prompts).double().numpy()
    mean = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).mean(axis=0)

    found = texts.ensemble(text, THREE)

    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), rtol=0, atol=1e-6)
    if not text:
        assert torch.equal(texts.redundant(THREE), found)


def test_prompts_are_encoded_in_bounded_batches_without_changing_the_feature():
    whole, split = small(batch=1000), Counted()

    found = small(split, batch=7).ensemble("tank", IMAGENET)

    assert split.calls == [7] * 12 + [1]
    np.testing.assert_allclose(found, whole.ensemble("tank", IMAGENET), rtol=0, atol=1e-6)


def test_features_are_kept_by_templates_and_text():
    tokenizer = Counted()
    texts = small(tokenizer)

    first = texts.ensemble("tank", THREE)
    assert texts.ensemble("tank", THREE) is first
    assert len(tokenizer.calls) == 1
    assert not torch.equal(texts.ensemble("tank", THREE[:2]), first)
    assert len(tokenizer.calls) == 2
    assert len(texts) == 2


def test_only_the_features_used_last_are_kept():
    tokenizer = Counted()
    texts = small(tokenizer, keep=3)
    for number in range(20):
        texts.ensemble(f"thing{number}", THREE)
        texts.redundant(THREE)
    assert len(texts) == 3
    assert len(tokenizer.calls) == 21  # the redundant one was never lost
    texts.ensemble("thing19", THREE)
    assert len(tokenizer.calls) == 21
    texts.ensemble("thing0", THREE)
    assert len(tokenizer.calls) == 22


def test_a_phrase_over_the_context_length_warns_each_time_and_names_both_numbers():
    texts = small()
    phrase = " ".join(["roof"] * 80)
    with pytest.warns(LongPhraseWarning, match="85 tokens .* reads 77"):
        cut = texts.ensemble(phrase, THREE)
    with pytest.warns(LongPhraseWarning):
        assert texts.ensemble(phrase, THREE) is cut
    assert texts.length(phrase, THREE) == 85


def test_a_phrase_that_just_fits_does_not_warn():
    texts = small()
    phrase = " ".join(["roof"] * 72)

    texts.ensemble(phrase, THREE)

    assert texts.length(phrase, THREE) == texts.limit == 77


def test_tokens_are_counted_as_the_real_tokenizer_cuts_them():
    texts = small(open_clip.SimpleTokenizer())
    for words in (60, 66, 67, 70):
        phrase = " ".join(["runway"] * words)
        longest = max(int((row != 0).sum()) for row in texts.tokens(fill(IMAGENET, phrase)))
        assert longest == min(texts.length(phrase, IMAGENET), 77)


def test_weights_that_give_nan_are_named_and_not_kept():
    model = random_model(SMALL)
    with torch.no_grad():
        model.ln_final.weight.fill_(torch.nan)
    texts = Texts(model, Counted(), CPU)
    with pytest.raises(ToolError, match="text encoder gave NaN"):
        texts.ensemble("tank", THREE)
    assert len(texts) == 0

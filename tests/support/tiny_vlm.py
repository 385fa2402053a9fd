"""A Qwen3-VL of a quarter of a million parameters, built without a download and taught one answer to everything.

It is the real architecture, tokenizer, processor and file format, so that a server which nobody here wrote can serve
it. It sees nothing: whatever the picture and the query, it says what it was taught. What is tested with it is the
protocol from end to end, never how well anything is found.

    python -m tiny_vlm FOLDER < {"answer": TEXT, "conversations": [{"system": TEXT, "user": TEXT}, ...]}
"""

import json
import random
import sys

import numpy as np
import torch
from PIL import Image
from tokenizers import pre_tokenizers
from transformers import (
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

SEED = 7
STEPS = 250
PEAK = 8e-3
LEARNT = 0.1  # the loss with which every answer tried was right is 0.003
END = "<|im_end|>\n"
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
NAMED = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content -%}
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}
{%- endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}"""


def build(folder, conversations, answer):
    """Write the model that says `answer`, and its processor, into `folder`; the loss of the last step."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    processor = processor_for([answer, *(text for turns in conversations for text in turns.values())])
    model = untrained(processor.tokenizer)
    loss = teach(model, processor, conversations, answer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return loss


def processor_for(texts):
    """Tokens are the words of `texts`, and bytes for anything else; pictures have at most 16 visual tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = {letter: number for number, letter in enumerate(letters)}
    tokenizer = Qwen2Tokenizer(vocab=bytewise, merges=[], **NAMED)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    # Bytes alone make conversations, and training, six times as long.
    tokenizer = tokenizer.train_new_from_iterator(texts, vocab_size=1024, show_progress=False)
    patches = {
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 1024, "longest_edge": 16384},
    }
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**patches),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**patches),
        chat_template=TEMPLATE,
    )


def untrained(tokenizer):
    """Two layers for text, two for vision, random weights."""
    pad, _, stop, start, end, image, video = tokenizer.convert_tokens_to_ids(list(SPECIAL))
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 32768,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
            "eos_token_id": stop,
            "pad_token_id": pad,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 16,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = stop
    model.generation_config.pad_token_id = pad
    return model


def teach(model, processor, conversations, answer):
    """Train on conversations whole and torn to pieces, so that no word of them decides; the loss of the last step."""
    draw, noise = random.Random(SEED), np.random.default_rng(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK, total_steps=STEPS)
    taught = len(processor.tokenizer(answer + END)["input_ids"])
    loss = torch.tensor(torch.nan)
    model.train()
    for step in range(STEPS):
        turns = draw.choice(conversations)
        if step % 4:
            turns = {role: torn(text, draw) for role, text in turns.items()}
        inputs = prepared(processor, turns, picture(noise), answer + END)
        labels = inputs["input_ids"].clone()
        labels[:, :-taught] = -100
        loss = model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    return loss.item()


def prepared(processor, turns, image, answer):
    """What the model is given: the conversation, the picture in the user's turn, and the answer."""
    messages = [
        {"role": role, "content": [{"type": "image"}, {"type": "text", "text": text}] if role == "user" else text}
        for role, text in turns.items()
    ]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return processor(text=[text + answer], images=[image], return_tensors="pt")


def torn(text, draw):
    """Some of the words of a text, in any order."""
    words = text.split(" ")
    return " ".join(draw.sample(words, draw.randint(0, len(words))))


def picture(noise):
    """Noise, 2 to 4 visual tokens along each side."""
    height, width = noise.integers(2, 5, 2) * 32
    return Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8))


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    left = build(sys.argv[1], asked["conversations"], asked["answer"])
    if not left < LEARNT:
        sys.exit(f"the model did not learn its answer: loss {left:.3f} after {STEPS} steps")

"""CLIP Surgery (Li et al., arXiv 2304.05653) over open_clip: where in a picture is what a phrase names.

`load` gives a ready `ClipSurgery`; the stages below it are pure functions. Importing this needs torch and open_clip.
"""

from geoseg_tools.clip_surgery.encoder import (
    Encoded,
    Paths,
    embed,
    encode,
    follow,
    native_size,
    positional_table,
    project,
)
from geoseg_tools.clip_surgery.load import adapt, build, check_activation, check_entry, fetch_tag, load
from geoseg_tools.clip_surgery.matcher import ClipSurgery
from geoseg_tools.clip_surgery.picture import OPENAI_MEAN, OPENAI_STD, prepare
from geoseg_tools.clip_surgery.surgery import compare_labels, compare_phrases, map_similarity, normalise
from geoseg_tools.clip_surgery.table import DEFAULT, TABLE, Entry, entry_of
from geoseg_tools.clip_surgery.templates import AERIAL, IMAGENET, TEMPLATES, Templates, fill, templates_of
from geoseg_tools.clip_surgery.text import LongPhraseWarning, Texts, Tokenizer
from geoseg_tools.clip_surgery.towers import DEPTH, SUPPORTED, check_tower

__all__ = [
    "AERIAL",
    "DEFAULT",
    "DEPTH",
    "IMAGENET",
    "OPENAI_MEAN",
    "OPENAI_STD",
    "SUPPORTED",
    "TABLE",
    "TEMPLATES",
    "ClipSurgery",
    "Encoded",
    "Entry",
    "LongPhraseWarning",
    "Paths",
    "Templates",
    "Texts",
    "Tokenizer",
    "adapt",
    "build",
    "check_activation",
    "check_entry",
    "check_tower",
    "compare_labels",
    "compare_phrases",
    "embed",
    "encode",
    "entry_of",
    "fetch_tag",
    "fill",
    "follow",
    "load",
    "map_similarity",
    "native_size",
    "normalise",
    "positional_table",
    "prepare",
    "project",
    "templates_of",
]

"""The prompt files: which there are, that none ever changes, and that gaps are filled exactly."""

import hashlib
import json
import re

import pytest

from geoseg_prompts import Prompt, load, names, versions
from geoseg_prompts.files import found_in

# A changed text is a new version: add a file and a line, never edit one. Traces name these digests.
PINNED = {
    ("grounding", "v1"): "0e0d0b0f1fe49343d1202aa5cbd6a54681e47af283213dc013dfb00d518305c0",
    ("grounding_pixels", "v1"): "891b5b167ebe0b2d8dd149be82d1c346678a1b316d478fcb7ab67ba39c405bd3",
    ("judge", "v1"): "2b6487e47cf58c57ab84c1f667f4147cfc43bafd88f2384c5128f6163350c351",
    ("judge_class", "v1"): "051c994e721da482ddfd9dec12685bb55f2ccfc66a932f6162b06f1d89c21843",
    ("judge_overlap", "v1"): "c2b2ac1f4bcb717c09109473f82385645edba88f0f639693ac53bca7f3e30069",
    ("judge_pair", "v1"): "0339f189fe5ad4cb306573aba5420e834b214b91bd80d0e72fa2066e3c850afc",
    ("reask", "v1"): "00ff9c668d6137d9f82cc41068b306f0735001a4b87f0ec6c93fe8b83a74f74c",
    ("zoom", "v1"): "f3a2c8390d8b4a65a6bc794ba8df9b156f6c053c40b4f30609cd43e02f439f98",
    ("zoomed", "v1"): "b3709b47094ac0c8801185f5a96c9c8d3558c0c260ab6fb8c073c0d87635d1e0",
    ("verify", "v1"): "c435211a3c4f1f2720ea57d9bb473c8cf3175b4e0a445ca60d98384223575dbf",
}
GAPS = {
    "grounding": {"corners", "units", "limit", "query"},
    "grounding_pixels": {"corners", "units", "limit", "query", "width", "height"},
    "judge": {"query"},
    "judge_class": {"query"},
    "judge_overlap": {"query"},
    "judge_pair": {"query"},
    "reask": {"violations"},
    "verify": {"corners", "units", "count", "targets", "query"},
    "zoom": {"corners", "width", "height", "factor", "rounds"},
    "zoomed": {"left", "top", "across", "down"},
}


def prompt(text):
    return Prompt("example", "v1", "0" * 64, text)


def test_every_file_has_the_digest_it_was_released_with():
    found = {(name, version): load(name, version).sha256 for name in names() for version in versions(name)}

    assert found == PINNED


@pytest.mark.parametrize(("name", "version"), PINNED)
def test_the_digest_is_that_of_the_text(name, version):
    loaded = load(name, version)

    assert loaded.sha256 == hashlib.sha256(loaded.text.encode()).hexdigest()
    assert (loaded.name, loaded.version) == (name, version)


@pytest.mark.parametrize("name", GAPS)
def test_without_a_version_the_newest_is_loaded(name):
    assert load(name) == load(name, versions(name)[-1])


@pytest.mark.parametrize(("name", "version"), PINNED)
def test_a_file_has_the_gaps_that_the_conversations_fill(name, version):
    assert load(name, version).gaps == GAPS[name]


@pytest.mark.parametrize("name", ["grounding", "grounding_pixels", "verify"])
def test_questions_have_rules_and_a_turn_of_the_user_that_ends_with_the_query(name):
    parts = load(name).parts

    assert list(parts) == ["system", "user"]
    assert parts["user"].endswith("{{query}}")
    assert "{{query}}" not in parts["system"]
    assert "data" in parts["system"]


def test_asking_again_is_one_turn_of_the_user():
    assert list(load("reask").parts) == ["user"]


@pytest.mark.parametrize("name", ["grounding", "grounding_pixels", "reask", "verify"])
def test_every_text_says_json(name):
    """Some hosted models refuse `json_object` unless the prompt holds this word (Alibaba Cloud Model Studio)."""
    assert "JSON" in load(name).text


@pytest.mark.parametrize("name", ["grounding", "grounding_pixels", "verify"])
def test_the_form_shown_is_json_with_the_corners_in_the_box(name):
    shown = next(line for line in load(name).parts["system"].splitlines() if line.startswith("{"))

    answer = json.loads(shown.replace("{{corners}}", "1, 2, 3, 4"))

    if name == "verify":
        assert set(answer) == {"verdicts", "score", "reasoning"}
        assert set(answer["verdicts"][0]) == {"target", "verdict", "bbox_2d", "label"}
    else:
        assert set(answer) == {"status", "targets", "reasoning"}
        assert set(answer["targets"][0]) == {"bbox_2d", "label"}
        assert answer["targets"][0]["bbox_2d"] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["grounding", "grounding_pixels"])
def test_grounding_names_every_status_and_allows_the_empty_answer(name):
    text = load(name).text

    for status in ("found", "not_found", "ambiguous"):
        assert f'"{status}"' in text
    assert re.search(r'empty, \[\], when the status is "not_found"', text)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(LookupError, match=r"no prompt 'grunding'; known are .*grounding.*verify"):
        load("grunding")
    with pytest.raises(LookupError, match="grounding"):
        versions("../grounding")


def test_an_unknown_version_lists_the_known_ones():
    with pytest.raises(LookupError, match=r"no version 'v999'; known are v1"):
        load("grounding", "v999")


def test_versions_are_in_the_order_of_their_numbers(tmp_path):
    for path in ("a/v10.md", "a/v2.md", "a/v1.md", "a/v03.md", "a/notes.md", "b/v1.md", "empty/x.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("# user\nx", encoding="utf-8")

    found = found_in(tmp_path)

    assert {name: list(files) for name, files in found.items()} == {"a": ["v1", "v2", "v10"], "b": ["v1"]}
    assert found["a"]["v10"].name == "v10.md"


def test_values_are_text_and_nothing_in_them_is_looked_at():
    text = prompt('# system\n\nrules {"a": [{{one}}]}\n\n# user\n\n{{two}}|{{one}}\n')

    parts = text.render(one="{{two}} {one} $one", two="# system\n\\1 \\g<1> {}")

    assert parts == {
        "system": 'rules {"a": [{{two}} {one} $one]}',
        "user": "# system\n\\1 \\g<1> {}|{{two}} {one} $one",
    }


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "missing: one, two; unknown: none"),
        ({"one": 1}, "missing: two; unknown: none"),
        ({"one": 1, "two": 2, "three": 3}, "missing: none; unknown: three"),
    ],
)
def test_missing_and_unknown_values_are_named(values, named):
    with pytest.raises(ValueError, match=named):
        prompt("# user\n{{one}} {{two}}").render(**values)


@pytest.mark.parametrize("text", ["", "no part", "before\n# user\nx", "# user\na\n# user\nb", "## user\nx"], ids=repr)
def test_a_text_must_consist_of_parts(text):
    with pytest.raises(ValueError, match="example/v1"):
        prompt(text)

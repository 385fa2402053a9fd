"""The offline default's grammar: what a question is read as."""

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg_tools.classical.lexicon import lexicon
from geoseg_tools.classical.parser import read

CONCEPTS = [
    ("Segment all water in the image.", ("water",)),
    ("lakes and rivers", ("water",)),
    ("the bodies of water", ("water",)),
    ("Where is the canal?", ("water",)),
    ("Show me every house", ("building",)),
    ("the houses in rows beside the park", ("building",)),
    ("high-rise towers", ("building",)),
    ("Which roofs are red?", ("building",)),
    ("the car parks", ("paved",)),
    ("roads and parking areas", ("road", "paved")),
    ("all streets, including the motorway ramps", ("road",)),
    ("bushes", ("tree",)),
    ("the woodland", ("tree",)),
    ("Segment the grass strips and other low vegetation.", ("grass",)),
    ("planted island of the roundabout", ("vegetation",)),
    ("green areas", ("vegetation",)),
    ("marshes", ("vegetation",)),
    ("ploughed fields", ("field",)),
    ("the farm buildings", ("building",)),
    ("buildings on the farm", ("building",)),
    ("a swimming-pool", ("pool",)),
    ("dark pool of water", ("water",)),
    ("sandy beach", ("bare",)),
    ("boats in the harbour", ("ship",)),
    ("buses", ("vehicle",)),
    ("trees and shrubs", ("tree",)),
    ("trees and buildings", ("tree", "building")),
    ("river bank trees", ("tree",)),
    ("a row of long warehouses", ("building",)),
    ("blocks of blue and orange containers", ("building",)),
]


@pytest.mark.parametrize(("query", "concepts"), CONCEPTS)
def test_names_are_read_as_concepts(query: str, concepts: tuple[str, ...]) -> None:
    assert read(query).concepts == concepts


@pytest.mark.parametrize(
    "query",
    [
        "the hospital",
        "Find the hospital building.",
        "railway tracks",
        "the planes on the apron",
        "tennis courts",
        "Where is the person?",
        "zorble",
        "???",
        "everything except the water",
        "solar panels on the roof",
        "the school bus",
        "the church's car park",
    ],
)
def test_what_has_no_evidence_is_not_read_as_something_else(query: str) -> None:
    assert read(query).concepts == ()


@pytest.mark.parametrize(
    ("query", "concept", "superlative"),
    [
        ("Where does the farmer plough?", "field", None),
        ("where could ducks swim?", "water", None),
        ("This is a desert: where would a thirsty animal have to go?", "water", None),
        ("Where could rainwater be collected from roofs here?", "building", None),
        ("Where would you land a small plane?", "road", "longest"),
        ("It is a hot day: where can the residents cool off in the water?", "pool", None),
        ("Where can I park my car?", "paved", None),
        ("Where would walkers find shade on a sunny day?", "tree", None),
        ("Where do the families of this quarter live?", "building", None),
        ("Which area would suit a picnic?", "grass", "largest"),
        ("Where can boats be moored?", "water", None),
        ("Which parts could an ambulance drive along?", "road", None),
    ],
)
def test_purposes_stand_for_concepts(query: str, concept: str, superlative: str | None) -> None:
    reading = read(query)
    assert reading.concepts == (concept,)
    assert reading.implicit
    assert reading.superlative == superlative


def test_a_named_thing_is_not_overruled_by_a_purpose() -> None:
    assert read("Segment the houses where people live.").concepts == ("building",)
    assert not read("Where is the lake?").implicit


def test_cooling_off_falls_back_from_pool_to_water() -> None:
    assert read("where can people cool off?").otherwise == "water"


@pytest.mark.parametrize(
    ("query", "kind", "references"),
    [
        ("Which lake is encircled by the ring road? Segment it.", "surrounded", ("road",)),
        ("the lake surrounded by high-rise towers", "surrounded", ("building",)),
        ("buildings south of the highway", "south", ("road",)),
        ("the roof to the left of the pond", "west", ("water",)),
        ("the grey roof just below the street", "south", ("road",)),
        ("the large white building next to the water on the left", "near", ("water",)),
        ("houses in rows beside the park", "near", ("vegetation",)),
        ("trees between the street and the river", "between", ("road", "water")),
        ("trees between the street and the railway tracks", "between", ("road",)),
        ("the hall with solar panels that borders the fields", "near", ("field",)),
        ("the hall with solar panels", "with", ()),
        ("planted island of the roundabout near the top", "of", ("road",)),
        ("green areas inside the interchange loops", "surrounded", ("road",)),
        ("Next to the river there is a large white hall", "near", ("water",)),
    ],
)
def test_relations_name_what_they_refer_to(query: str, kind: str, references: tuple[str, ...]) -> None:
    relation = read(query).relation
    assert relation is not None
    assert (relation.kind, relation.references) == (kind, references)


@pytest.mark.parametrize(
    "query",
    ["roofs of all buildings", "roads of this neighbourhood", "the pond in the image", "trees in the upper left"],
)
def test_no_relation_where_nothing_else_is_named(query: str) -> None:
    assert read(query).relation is None


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("white warehouses in the upper right corner", ("top", "right")),
        ("the pond in the south-west", ("bottom", "left")),
        ("water along the bottom edge of the image", ("edge-bottom",)),
        ("the warehouse at the right-hand edge", ("edge-right",)),
        ("the field in the middle of the picture", ("centre",)),
        ("the roof at the top centre", ("top", "middle")),
        ("the lake", ()),
        ("the tree right next to the road", ()),
        ("the house at the top of the road", ()),
    ],
)
def test_places_are_of_the_image(query: str, places: tuple[str, ...]) -> None:
    assert read(query).places == places


def test_attributes_belong_to_the_target_and_not_to_what_it_is_next_to() -> None:
    reading = read("the long white hall next to the large blue pond")
    assert (reading.colours, reading.shapes, reading.sizes) == (("white",), ("long",), ())


def test_superlatives_and_numbers() -> None:
    assert read("the biggest connected stretch of water").superlative == "largest"
    assert read("the westernmost building").superlative == "leftmost"
    assert read("the two ponds in the lower right").number == 2
    assert read("both lakes").number == 2
    assert read("one of the ponds").number == 1


@pytest.mark.parametrize(
    ("query", "plural"),
    [
        ("the lake", False),
        ("the lakes", True),
        ("the water", True),
        ("every lake", True),
        ("building", True),
        ("the building", False),
        ("a row of trees", True),
        ("the vegetation", True),
    ],
)
def test_plural(query: str, plural: bool) -> None:
    assert read(query).plural is plural


def test_green_is_a_colour_before_a_noun_and_a_thing_alone() -> None:
    assert read("green roofs").colours == ("green",)
    assert read("green roofs").concepts == ("building",)
    assert read("all the green").concepts == ("vegetation",)


def test_words_that_were_passed_over_are_named() -> None:
    assert read("Segment the derelict buildings").ignored == ("derelict",)
    assert read("trees and tennis courts").unknown == ("tennis court",)


@pytest.mark.parametrize("query", [query for query, _ in CONCEPTS])
def test_the_phrase_reads_back_to_the_same(query: str) -> None:
    reading = read(query)
    again = read(reading.phrase)
    assert (again.concepts, again.colours) == (reading.concepts, reading.colours)
    assert 0 < len(reading.phrase) <= 200


def test_every_entry_of_the_lexicon_is_found_again() -> None:
    book = json.loads((files("geoseg_tools.classical") / "lexicon.json").read_text(encoding="utf-8"))
    for concept, phrases in book["concepts"].items():
        for phrase in phrases:
            assert read(phrase).concepts == (concept,), phrase
    for word in book["unknown"]:
        assert read(word).concepts == (), word
    assert set(book["nouns"]) == set(book["concepts"])
    assert lexicon().longest >= 4


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    reading = read(text)
    assert bool(reading.phrase) == bool(reading.concepts)
    assert len(reading.phrase) <= 200


@given(st.lists(st.sampled_from([" ".join(words) for words in lexicon().table]), max_size=12))
def test_any_heap_of_known_words_is_read_without_an_error(words: list[str]) -> None:
    reading = read(" ".join(words))
    assert read(" ".join(words)) == reading
    if reading.concepts:
        again = read(reading.phrase)
        assert (again.concepts, again.colours) == (reading.concepts, reading.colours)

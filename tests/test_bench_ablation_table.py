"""The ablation in the paper's layout: theirs beside ours, and never among them."""

import json

from geoseg_agent.bench.published import COLUMNS, PAPER_TABLE_3
from geoseg_agent.bench.table import AblationTable

OURS = {row: dict.fromkeys(COLUMNS, 0.125) for row in ("full", "text")}
TABLE = AblationTable("68 pairs, offline-baseline", OURS, "0.75 % of the diagonal", {"k=3": {"iou": 0.25}})


def lines(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_it_has_the_papers_columns_and_every_row_says_whose_it_is():
    head, _, *rows = lines(TABLE.markdown())

    assert head == ["Method", "Whose", "IoU", "Dice", "Acc", "Prec", "Rec", "Spec", "BF"]
    assert [row[:3] for row in rows[:6]] == [
        ["full", "ours", "12.5"],
        ["full", "theirs", "56.4"],
        ["w/o refinement", "theirs", "51.1"],
        ["w/o Route A", "ours", "12.5"],
        ["w/o Route A", "theirs", "52.9"],
        ["w/o Route B", "theirs", "43.2"],
    ]
    assert rows[1][2:] == ["56.4", "64.2", "96.8", "69.0", "65.7", "98.3", "26.6"]
    assert rows[-1] == ["k=3", "25.0", *["-"] * 6]
    for words in ("arXiv 2603.03983", "their data", "68 pairs, offline-baseline", "0.75 % of the diagonal"):
        assert words in TABLE.markdown()


def test_as_json_the_two_stand_apart():
    tree = json.loads(json.dumps(TABLE.as_dict()))

    assert tree["ours"]["rows"] == OURS
    assert tree["ours"]["more"] == {"k=3": {"iou": 0.25}}
    assert tree["theirs"]["rows"] == PAPER_TABLE_3.rows
    assert tree["theirs"]["source"] == "arXiv 2603.03983"


def test_without_theirs_there_is_no_word_of_them():
    alone = AblationTable("68 pairs", OURS, "3 pixels", {}, None)

    assert "heirs" not in alone.markdown()
    assert alone.as_dict()["theirs"] is None

"""`geoseg batch` as a person starts it: output, files, exit codes."""

import json

import pytest
from batch_data import scenes
from command_line import child, here

WORDS = {"GEOSEG_GROUNDER": "batch_data:grounder", "GEOSEG_TOOLS": "batch_data:tools"}


def test_a_batch_says_what_came_of_it_and_where(tmp_path):
    scenes(tmp_path / "in", 4, broken=(1,))
    (tmp_path / "q.txt").write_text("silence\n\ntext\n")
    done = here("batch", "in", "both sure", "--queries", "q.txt", "--out", "out", **WORDS)
    assert done.returncode == 0, done.stderr
    assert "12 of 12 items: 9 answered, 3 failed" in done.stdout
    assert "failed: bad_image" in done.stdout
    assert done.stderr.count("scene-001.tif#") == 3
    assert "--retry" in done.stderr
    assert "12 of 12" in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "batch.json", "batch.jsonl", "summary.json", "objects.gpkg", "traces", "objects",
    }  # fmt: skip
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["statuses"] == {"failed": 3, "found": 6, "not_found": 3}
    again = here("batch", "in", "both sure", "--queries", "q.txt", "--out", "out", **WORDS)
    assert (again.returncode, again.stdout) == (0, done.stdout)


def test_broken_rows_are_listed_and_nothing_is_asked(tmp_path):
    (tmp_path / "t.csv").write_text("image,query\na.tif,halls\n,halls\nb.tif\n")
    done = here("batch", "t.csv", "--out", "out")
    assert done.returncode == 2
    assert "t.csv, line 3: it names no image" in done.stderr
    assert "t.csv, line 4: it has 1 fields" in done.stderr
    assert "nothing was asked yet" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("batch", "none", "halls", "-o", "out"), 2, "does not exist"),
        (("batch", "in", "-o", "out"), 2, "there is no query"),
        (("batch", "in", "halls", " halls ", "-o", "out"), 2, "is there twice"),
        (("batch", "in", "halls", "--queries", "none.txt", "-o", "out"), 2, "cannot be read"),
        (("batch", "in", "halls", "--asset", "visual", "-o", "out"), 2, "no STAC ItemCollection"),
        (("batch", "in", "halls", "-o", "in"), 2, "is not empty and holds no batch"),
        (("batch", "in", "halls", "--save", "some", "-o", "out"), 2, "--save"),
    ],
)
def test_bad_arguments_are_told_with_a_remedy(tmp_path, arguments, code, says):
    scenes(tmp_path / "in", 1)
    done = here(*arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert says in done.stderr


def test_without_ray_its_engine_names_the_extra(tmp_path):
    scenes(tmp_path / "in", 1)
    done = child("batch", "in", "halls", "-o", "out", "--engine", "ray", cwd=tmp_path, without_models=True)
    assert done.returncode == 3, done.stderr
    assert "geoseg-agent[cluster]" in done.stderr

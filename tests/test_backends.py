"""Backends by name: the known ones, foreign ones, and clear words for the rest."""

import sys

import pytest

from geoseg_agent import ConfigError, MissingExtra, Settings, UnknownBackend
from geoseg_agent.backends import engine_name, grounder_of, toolbox_of

MODULE = """
class Grounder:
    engine = "mine"
    def __init__(self, settings): self.profile = settings.profile
    async def ground(self, image, query): ...
    async def aclose(self): ...

class Half:
    engine = "half"
    def __init__(self, settings): ...
"""


@pytest.fixture
def my_module(tmp_path):
    (tmp_path / "my_backend.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "needs_more.py").write_text("import a_package_nobody_has\n", encoding="utf-8")
    sys.path.insert(0, str(tmp_path))
    yield
    sys.path.remove(str(tmp_path))
    for name in ("my_backend", "needs_more"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["auto", "classical"])
def test_the_default_grounder_is_the_offline_baseline(name):
    assert grounder_of(Settings(grounder=name)).engine == "offline-baseline"


def test_the_default_tools_are_the_offline_baseline():
    assert toolbox_of(Settings()).engine == "offline-baseline"


@pytest.mark.usefixtures("my_module")
def test_a_foreign_factory_gets_the_settings():
    grounder = grounder_of(Settings(grounder="my_backend:Grounder", profile="paper"))

    assert (grounder.engine, grounder.profile) == ("mine", "paper")


@pytest.mark.usefixtures("my_module")
@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("clasical", UnknownBackend, "known are auto, classical"),
        ("classical:5", UnknownBackend, "no module 'classical'"),
        ("no_such_module:make", UnknownBackend, "no module 'no_such_module'"),
        ("my_backend:nothing", UnknownBackend, "has no 'nothing'"),
        ("needs_more:make", MissingExtra, "pip install a_package_nobody_has"),
        ("my_backend:Half", ConfigError, "lacks ground, aclose"),
        ("scripted:", ConfigError, "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_explained(name, error, told):
    with pytest.raises(error) as caught:
        grounder_of(Settings(grounder=name))
    assert told in str(caught.value)


def test_unknown_tools_list_the_known_ones():
    with pytest.raises(UnknownBackend, match="classical"):
        toolbox_of(Settings(tools="sam9"))


def test_a_result_is_labelled_with_what_made_it():
    assert engine_name("offline-baseline", "offline-baseline") == "offline-baseline"
    assert engine_name("scripted", "offline-baseline") == "scripted+offline-baseline"

"""Settings: the environment is read here, strictly, and profiles resolve as documented."""

import os
import subprocess
import sys

import pytest

from geoseg_agent.errors import ConfigError
from geoseg_agent.method import PROFILES, resolve
from geoseg_agent.settings import Settings


def settings_of(**environment):
    """What `Settings()` says in a child with these variables: its representation, or the error's text."""
    code = (
        "from geoseg_agent import Settings, ConfigError\n"
        "try: print(repr(Settings().recorded()))\n"
        "except ConfigError as error: print('ConfigError', error)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return child.stdout.strip()


def test_an_unknown_name_is_an_error_that_names_the_nearest():
    assert "GEOSEG_TOLS, which is no setting (did you mean GEOSEG_TOOLS?)" in settings_of(GEOSEG_TOLS="classical")


def test_a_value_out_of_range_is_named_with_its_variable():
    told = settings_of(GEOSEG_TAU="1.5")

    assert told.startswith("ConfigError")
    assert "GEOSEG_TAU" in told
    assert "1.5" in told


def test_the_environment_sets_fields_and_the_call_wins():
    assert "'bands': [4, 3, 2]" in settings_of(GEOSEG_BANDS="4,3,2")
    assert "'traces': 'none'" in settings_of(GEOSEG_TRACES="none")
    assert "'max_queued': 5" in settings_of(GEOSEG_MAX_QUEUED="5")


def test_an_unknown_field_is_named():
    with pytest.raises(ConfigError, match="did you mean 'gamma'"):
        Settings(gama=0.1)


def test_settings_are_frozen_hashable_and_survive_a_round_trip():
    settings = Settings(k=7, bands=(4, 3, 2), traces=None)

    assert hash(settings) == hash(Settings(k=7, bands=(4, 3, 2), traces=None))
    assert Settings(**settings.recorded()) == settings
    with pytest.raises(Exception, match="frozen"):
        settings.k = 3


@pytest.mark.parametrize("deadline", [0, -1, float("nan")])
def test_a_deadline_is_positive(deadline):
    with pytest.raises(ConfigError, match="deadline"):
        Settings(deadline=deadline)


def test_a_toolset_moves_the_default_profile_only():
    prefers = {"k": 64, "heat_norm": "none", "unknown": 1}

    assert resolve("default", prefers, {}).k == 64
    assert resolve("paper", prefers, {}) == PROFILES["paper"]
    assert resolve("released-code", prefers, {}) == PROFILES["released-code"]


def test_what_is_chosen_wins_over_all():
    assert resolve("default", {"k": 64}, {"k": 3}).k == 3
    assert resolve("paper", {}, {"gamma": 0.5, "alpha": None}).gamma == 0.5
    assert resolve("paper", {}, {"gamma": 0.5, "alpha": None}).alpha == 0.2

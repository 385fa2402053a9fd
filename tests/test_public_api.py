"""The public names, what they cost to import, and where the packages under test come from."""

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import distribution, version
from importlib.util import find_spec
from pathlib import Path

import pytest

import geoseg_agent
import geoseg_tools
from geoseg_agent import errors

TREE = Path(__file__).parents[1]
NAMES = [
    "Agent",
    "BudgetExceeded",
    "ConfigError",
    "DatasetError",
    "DeadlineExceeded",
    "DialectRefused",
    "EndpointError",
    "EndpointRefused",
    "EndpointTimeout",
    "EndpointUnavailable",
    "GeoSegError",
    "Hints",
    "Image",
    "ImageError",
    "InputError",
    "InvalidReply",
    "MissingExtra",
    "OutOfMemory",
    "Overloaded",
    "QueryError",
    "ReplayMismatch",
    "Segmentation",
    "Settings",
    "ToolFailed",
    "TraceCorrupt",
    "TraceError",
    "TraceIncomplete",
    "TraceTooNew",
    "UnknownBackend",
    "WeightsMissing",
    "aclose",
    "read_image",
    "segment",
]
TOOLS = [
    "Box",
    "Crop",
    "DeviceError",
    "Fused",
    "GeometryError",
    "Heat",
    "KeypointError",
    "Keypoints",
    "Mask",
    "Masks",
    "Matcher",
    "MemoryExhausted",
    "ModelError",
    "NoPixelsError",
    "Part",
    "Points",
    "Rgb",
    "Scene",
    "Segmenter",
    "Size",
    "ThresholdPoints",
    "ToolError",
    "WeightsError",
    "WindowsOnlyError",
    "fuse",
    "paste",
    "refine",
    "resize_nearest",
    "threshold_points",
    "tight",
    "topk_nms",
    "valid",
    "whole",
]
HEAVY = ("openai", "torch", "rasterio", "matplotlib", "cv2")


def child(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return json.loads(done.stdout)


def test_the_public_names_are_frozen():
    assert geoseg_agent.__all__ == NAMES
    assert geoseg_tools.__all__ == TOOLS


def test_every_public_name_is_there_and_listed():
    for name in NAMES:
        assert getattr(geoseg_agent, name).__name__ == name
        assert name in dir(geoseg_agent)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        geoseg_agent.nothing  # noqa: B018


def test_every_error_of_the_tree_is_public():
    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}

    assert tree <= set(NAMES)


def test_importing_the_package_loads_nothing_heavy():
    loaded = child("import sys, json, geoseg_agent; print(json.dumps(sorted(sys.modules)))")

    assert not [name for name in HEAVY if name in loaded]


def test_help_loads_nothing_heavy():
    code = (
        "import sys, json, contextlib, io\nfrom geoseg_agent.cli import app\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    app(['segment', '--help'], standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )

    assert not [name for name in HEAVY if name in child(code)]


def test_the_version_is_one():
    assert geoseg_agent.__version__ == version("geoseg-agent")
    assert f"## {geoseg_agent.__version__}" in (TREE / "CHANGELOG.md").read_text(encoding="utf-8")


def origin_code():
    return (
        "import json, importlib.util as u; print(json.dumps([u.find_spec(n).origin for n in "
        "('geoseg_agent', 'geoseg_tools', 'geoseg_prompts')]))"
    )


@pytest.mark.skipif("PYTHONSAFEPATH" not in os.environ, reason="only `make test` promises the installed wheel")
def test_parent_and_child_import_the_installed_wheel():
    here = [find_spec(name).origin for name in ("geoseg_agent", "geoseg_tools", "geoseg_prompts")]

    assert child(origin_code()) == here
    for origin in here:
        assert not Path(origin).is_relative_to(TREE / "geoseg_agent"), origin
        assert "site-packages" in origin
    assert distribution("geoseg-agent").read_text("direct_url.json") is None or "dist" in (
        distribution("geoseg-agent").read_text("direct_url.json")
    )


@pytest.mark.skipif(not list((TREE / "dist").glob("*.whl")), reason="no wheel has been built")
def test_the_wheel_holds_the_three_packages_and_no_more():
    (wheel,) = (TREE / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    tops = {name.split("/")[0] for name in names}
    assert tops == {
        "geoseg_agent",
        "geoseg_tools",
        "geoseg_prompts",
        f"geoseg_agent-{version('geoseg-agent')}.dist-info",
    }
    for package in ("geoseg_agent", "geoseg_tools", "geoseg_prompts"):
        assert f"{package}/py.typed" in names
    assert "geoseg_tools/classical/lexicon.json" in names
    source = {
        str(path.relative_to(root))
        for root, package in (
            (TREE, "geoseg_agent"),
            (TREE / "tools", "geoseg_tools"),
            (TREE / "prompts", "geoseg_prompts"),
        )
        for path in (root / package).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == source

"""Who may import whom, read from the sources."""

import ast
import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGES = ("geoseg_agent", "geoseg_tools", "geoseg_prompts")
ROOTS = {name: Path(find_spec(name).origin).parent for name in PACKAGES}
FILES = [(package, path) for package, root in ROOTS.items() for path in sorted(root.rglob("*.py"))]
MODULES = {
    ".".join((package, *path.relative_to(ROOTS[package]).with_suffix("").parts)).removesuffix(".__init__"): path
    for package, path in FILES
}
TOOLS_MAY = {"numpy", "scipy", "cv2", "PIL"}
MODELS_MAY = {"torch", "torchvision", "open_clip", "sam3", "huggingface_hub", "safetensors", "psutil"}
PURE = ("geometry", "fusion", "keypoints", "crop", "arrays", "masks", "errors", "protocols")


@cache
def imports(path, *, run_time_only=False):
    """Dotted names imported anywhere in the file; without those under TYPE_CHECKING if `run_time_only`."""
    return tuple(_imports(path, run_time_only))


def _imports(path, run_time_only):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set()
    if run_time_only:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                skipped.update(id(inner) for statement in node.body for inner in ast.walk(statement))
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inner)


def standard(name):
    return name.split(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize(
    ("package", "path"), FILES, ids=lambda value: value if isinstance(value, str) else value.stem
)
def test_the_arrow_points_from_the_agent_to_the_tools(package, path):
    allowed = {
        "geoseg_agent": {"geoseg_agent", "geoseg_tools", "geoseg_prompts"},
        "geoseg_tools": {"geoseg_tools"},
        "geoseg_prompts": {"geoseg_prompts"},
    }[package]
    for name in imports(path):
        head = name.split(".")[0]
        assert head not in {"tools", "prompts"}, f"{path} imports {name}: a second copy of every class"
        if head in PACKAGES:
            assert head in allowed, f"{path} imports {name}"


def of_a_model(path):
    """Whether the module is one of those that need the extra: the models, and what only they import."""
    return path.parent.name in {"clip_surgery", "sam3"} or path.stem in {"devices", "weights"}


@pytest.mark.parametrize("path", [path for package, path in FILES if package == "geoseg_tools"], ids=lambda p: p.stem)
def test_the_tools_know_only_arrays_and_models(path):
    for name in imports(path):
        head = name.split(".")[0]
        allowed = TOOLS_MAY | {"geoseg_tools", "__future__"} | (MODELS_MAY if of_a_model(path) else set())
        assert head in allowed or standard(name), f"{path} imports {name}"
        assert head not in {"asyncio", "socket", "urllib", "http", "logging"}, f"{path} imports {name}"


@pytest.mark.parametrize("name", PURE)
def test_the_pure_tools_need_numpy_and_scipy_only(name):
    for imported in imports(ROOTS["geoseg_tools"] / f"{name}.py"):
        head = imported.split(".")[0]
        assert head in {"numpy", "scipy", "geoseg_tools", "__future__"} or standard(imported)


def test_there_are_no_circles():
    edges = {
        name: {imported for imported in imports(path, run_time_only=True) if imported in MODULES and imported != name}
        for name, path in MODULES.items()
    }
    state = {}

    def visit(name, trail):
        assert state.get(name) != "open", " -> ".join((*trail, name))
        if name in state:
            return
        state[name] = "open"
        for other in sorted(edges[name]):
            visit(other, (*trail, name))
        state[name] = "done"

    for name in sorted(edges):
        visit(name, ())


def test_only_settings_reads_the_environment():
    for package, path in FILES:
        text = path.read_text(encoding="utf-8")
        if path != ROOTS["geoseg_agent"] / "settings.py":
            assert "os.environ" not in text, f"{path} of {package} looks at the environment"
            assert "getenv" not in text, f"{path} of {package} looks at the environment"


@pytest.mark.parametrize(
    ("package", "path"), FILES, ids=lambda value: value if isinstance(value, str) else value.stem
)
def test_no_module_is_over_400_lines(package, path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, f"{path} of {package}"


def test_the_median_module_is_small():
    lengths = sorted(len(path.read_text(encoding="utf-8").splitlines()) for _, path in FILES)

    assert lengths[len(lengths) // 2] <= 150


@pytest.mark.parametrize(
    ("package", "path"), FILES, ids=lambda value: value if isinstance(value, str) else value.stem
)
def test_no_module_imports_what_another_keeps_to_itself(package, path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in PACKAGES:
            private = [alias.name for alias in node.names if re.match("_[^_]", alias.name)]
            assert not private, f"{path} of {package} imports {private} from {node.module}"

"""A key that must never be seen again, and the marks of a picture on its way to a model."""

from pathlib import Path

KEY = "sk-canary-5f1d0c7e9b"
MARKS = (KEY.encode(), b"Bearer ", b"data:image/jpeg", b"/9j/4AAQ")
LARGEST = 64 << 20  # nothing that is written here is larger; a test makes an empty file of terabytes
TEXTS = {".json", ".jsonl", ".journal", ".html", ".log", ".txt", ".tmp", ".md", ".csv", ".geojson"}


def leaks(folder):
    """Files below the folder that hold the key, or, where they are text, a header or a picture."""
    found = []
    for path in Path(folder).rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < LARGEST:
            data = path.read_bytes()
            marks = MARKS if path.suffix in TEXTS else MARKS[:1]
            found += [f"{path}: {mark.decode()}" for mark in marks if mark in data]
    return found


def chain(error):
    """The error and everything that hangs on it: causes, contexts, members of groups."""
    seen, waiting = [], [error]
    while waiting:
        one = waiting.pop()
        if one is None or any(one is other for other in seen):
            continue
        seen.append(one)
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return seen


def spoken(error):
    """Everything that the chain of an error says or holds, three levels deep, as one text."""
    return "\n".join(part for one in chain(error) for part in _parts(one, 3))


def _parts(value, depth):
    yield repr(value)
    yield str(value)
    if depth and isinstance(value, dict):
        for inner in value.values():
            yield from _parts(inner, depth - 1)
    elif depth and isinstance(value, list | tuple | set):
        for inner in value:
            yield from _parts(inner, depth - 1)
    elif depth and hasattr(value, "__dict__"):
        for inner in vars(value).values():
            yield from _parts(inner, depth - 1)

"""A JSON array read element by element: files of gigabytes in a few megabytes of memory.

The standard decoder is asked where one value ends, over a window of the text which grows while the value is not
complete; then that piece is read as strictly as any other JSON. So there is no second parser, and no dependency.
"""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from geoseg_agent.bench.datasets.collection import Broken
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.jsontexts import MAX_RECORD
from geoseg_agent.trace.jsontext import parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1 << 18
_TRUNCATED = "the file ends in the middle of {}"
_WORDS = ("true", "false", "null")  # the empty text begins all of them
_SPACE = " \t\r\n"
_NEAR_THE_END = 12  # characters: an escape or a word cut in two is reported where it starts


class Element(NamedTuple):
    """An element of the array.

    Attributes:
        number: counted from 1.
        where: file, number, and the byte at which it starts.
        value: as the json module has it.
    """

    number: int
    where: str
    value: Any


def elements(path: Path) -> Iterator[Element | Broken]:
    """The elements of the JSON array that a file in UTF-8 holds, in order, lazily.

    An element with a key twice, or with a number that is not finite or has thousands of digits, is a `Broken`, and
    the next one follows. Where the text breaks off or stops being JSON or UTF-8, a `Broken` that names the byte is
    the last.

    Raises:
        DatasetError: the file cannot be opened or read.
    """
    try:
        with path.open("rb") as stream:
            yield from _elements(_Window(stream), path.name)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def _elements(window: _Window, name: str) -> Iterator[Element | Broken]:
    number = 0
    try:
        more = _opened(window)
        while more:
            window.next()
            where = f"{name}, record {number + 1} (byte {window.place()})"
            value, refusal = window.value()
            number += 1
            yield Element(number, where, value) if refusal is None else Broken(None, where, refusal)
            more = _goes_on(window)
        _closed(window)
    except _StopError as error:
        yield Broken(None, f"{name}, after record {number} (byte {window.place()})", str(error))


def _opened(window: _Window) -> bool:
    """Step into the array; whether it has an element."""
    if window.next() != "[":
        raise _StopError(window.fault or "it must be a JSON array")
    window.at += 1
    if window.next() != "]":
        return True
    window.at += 1
    return False


def _closed(window: _Window) -> None:
    if window.next() or window.fault:
        raise _StopError(window.fault or "there is text behind the array")


def _goes_on(window: _Window) -> bool:
    """Whether a further element follows; steps over what says so."""
    mark = window.next()
    if mark not in {",", "]"}:
        raise _StopError(
            window.fault or _TRUNCATED.format("the array") if not mark else f"expected ',' or ']', got {mark!r}"
        )
    window.at += 1
    return mark == ","


class _StopError(Exception):
    """Nothing further can be read; the text says why."""


class _Window:
    """The part of the text that is in memory.

    Attributes:
        text: decoded, from somewhere in the file on.
        at: where reading goes on, an index into `text`.
        fault: why the text ends before the file does, or None.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.text = ""
        self.at = 0
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._bytes = 0  # before `_counted`, an index into `text`
        self._counted = 0
        self._ended = False
        self.fault: str | None = None

    def place(self) -> int:
        """The byte at which reading goes on, counted from 1."""
        if self.at > self._counted:  # from where it was counted last: a record is not counted again for the next
            self._bytes += len(self.text[self._counted : self.at].encode())
            self._counted = self.at
        return self._bytes + 1

    def next(self) -> str:
        """Skip white space; the character after it, or "" at the end."""
        while True:
            while self.at < len(self.text):
                character = self.text[self.at]
                if character not in _SPACE and not (character == "\ufeff" and self.place() == 1):
                    return character
                self.at += 1
            if not self._more(_CHUNK):
                return ""

    def value(self) -> tuple[Any, str | None]:
        """The value at this place, stepped over, and why it is refused, or None."""
        size = _CHUNK
        while True:
            try:
                value, end, refusal = _decoded(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self.text) - _NEAR_THE_END
                if not cut:
                    self.at = error.pos
                    raise _StopError(f"it is not JSON: {error.msg}") from error
                if len(self.text) - self.at > MAX_RECORD:
                    raise _StopError(f"the record is longer than {MAX_RECORD >> 20} MiB") from error
                rest = self.text[error.pos :].strip()
                if not self._more(size):
                    raise _StopError(self.fault or _ending(error, rest)) from error
            except RecursionError as error:
                raise _StopError(f"the record cannot be read: {error}") from error
            else:
                # A number at the very end of the window may go on behind it.
                length = end - self.at
                if end < len(self.text) or self.text[end - 1] in "}]" or not self._more(size):
                    self.at += length
                    return value, refusal
            size *= 2

    def _more(self, size: int) -> bool:
        """Read on; what was stepped over is forgotten. False at the end, which a byte that is not UTF-8 makes too."""
        if self._ended:
            return False
        data = self._stream.read(size)
        start = self.place()
        rest, self.at, self._counted = self.text[self.at :], 0, 0
        try:
            new = self._decode(data, final=not data)
        except UnicodeDecodeError as error:
            new = error.object[: error.start].decode()
            place = start + len(rest.encode()) + error.start
            self._ended, self.fault = True, f"byte {place} is not UTF-8"
        self.text = rest + new
        self._ended = self._ended or not data
        return bool(new) or not self._ended


def _ending(error: json.JSONDecodeError, rest: str) -> str:
    """Why there is no value in the last of the text, from what stands where the decoder stopped."""
    cut = error.msg.startswith("Unterminated string") or any(word.startswith(rest) for word in _WORDS)
    return _TRUNCATED.format("a record") if cut else f"it is not JSON: {error.msg}"


# Numbers stay text: one of thousands of digits would be refused before its end is found.
_skim = json.JSONDecoder(parse_float=str, parse_int=str).raw_decode


def _decoded(text: str, at: int) -> tuple[Any, int, str | None]:
    """The value at `at`, where it ends, and why it is refused, or None; the end is known of a refused one too."""
    end = _skim(text, at)[1]
    try:
        return parse(text[at:end].encode()), end, None
    except ValueError as error:
        return None, end, str(error)

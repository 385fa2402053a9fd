"""A prompt: a text in parts, with gaps for values.

The file is markdown. A line `# system` or `# user` begins the part of that name; blank lines around a part do not
count. `{{name}}` is a gap. Single braces are text, so that JSON can be shown as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEADING = re.compile(r"^# (system|user)[ \t]*$", re.MULTILINE)
_GAP = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt.

    Attributes:
        name: for example "grounding".
        version: for example "v1".
        sha256: of the bytes of its file.
        text: the whole file.

    Raises:
        ValueError: the text has no part, the same part twice, or text before the first.
    """

    name: str
    version: str
    sha256: str
    text: str

    def __post_init__(self) -> None:
        before, *pieces = _HEADING.split(self.text)
        headings = pieces[0::2]
        if before.strip() or not headings or len(set(headings)) < len(headings):
            raise ValueError(
                f"prompt {self.name}/{self.version} must consist of '# system' and '# user' parts, "
                f"each at most once and nothing before them; it has {headings}"
            )

    @property
    def parts(self) -> dict[str, str]:
        """Name of a part ("system", "user") to its text, with its gaps, in the order of the file."""
        _, *pieces = _HEADING.split(self.text)
        return {name: text.strip() for name, text in zip(pieces[0::2], pieces[1::2], strict=True)}

    @property
    def gaps(self) -> frozenset[str]:
        """The names of the values that `render` wants."""
        return frozenset(_GAP.findall(self.text))

    def render(self, **values: object) -> dict[str, str]:
        """The parts with their gaps filled; what a value holds is never looked at again, braces included.

        Raises:
            ValueError: a gap has no value, or a value no gap; the message names them.
        """
        missing, unknown = sorted(self.gaps - set(values)), sorted(set(values) - self.gaps)
        if missing or unknown:
            raise ValueError(
                f"prompt {self.name}/{self.version} takes {', '.join(sorted(self.gaps)) or 'no values'}; "
                f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
            )
        return {name: _GAP.sub(lambda gap: str(values[gap.group(1)]), text) for name, text in self.parts.items()}

"""What a query was understood to ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geoseg_tools.classical.lexicon import lexicon

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Relation:
    """Where the target lies with respect to something else.

    Attributes:
        kind: a key of `relations` in the lexicon.
        references: concepts of the something else; empty when the word is known but has no evidence.
        words: the relation as written.
    """

    kind: str
    references: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A parsed query.

    Attributes:
        concepts: what to look for; empty when nothing in the query is known.
        otherwise: concept to fall back to when there is no evidence of the first.
        colours, shapes, sizes: attributes of the target, keys of the lexicon.
        superlative: picks one component, or None.
        number: how many components, or None.
        plural: the query asks for all of them.
        places: "top", "left", ..., "centre"; with the prefix "edge-" where it must touch the image border.
        relation: position relative to another concept, or None.
        implicit: the concept follows from a purpose ("where could ducks swim?"), it is not named.
        unknown: words the lexicon knows to have no evidence, standing where the target stands.
        ignored: words of the target that were not understood.
        phrase: a short noun phrase that reads back to the same concepts and colours.
    """

    concepts: tuple[str, ...] = ()
    otherwise: str | None = None
    colours: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    superlative: str | None = None
    number: int | None = None
    plural: bool = True
    places: tuple[str, ...] = ()
    relation: Relation | None = None
    implicit: bool = False
    unknown: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    phrase: str = ""

    @property
    def selective(self) -> bool:
        """Whether the query means some components of the evidence rather than all of it."""
        picked = self.colours or self.shapes or self.sizes or self.superlative or self.number
        return bool(picked or self.places or self.relation)


def noun_phrase(concepts: Iterable[str], colours: Iterable[str]) -> str:
    """The plainest phrase for concepts and colours: "white or grey building"."""
    named = " and ".join(lexicon().noun(concept) for concept in concepts)
    shade = " or ".join(colours)
    return f"{shade} {named}" if shade else named

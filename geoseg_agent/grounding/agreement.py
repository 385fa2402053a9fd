"""Self-consistency: the replies of several samples as one, with agreement as confidence."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from geoseg_agent.types import GroundingReply, Target
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.types import Status

_SAME = 0.5


class _Vote(NamedTuple):
    sample: int
    target: Target


def merge(replies: Sequence[GroundingReply], *, asked: int, max_targets: int) -> GroundingReply:
    """One reply from those of the samples that answered.

    Boxes that overlap by half (IoU) are one target; of each sample at most one box counts. A target's confidence is
    the share of the samples asked that show it, its box the median of each coordinate, its phrase the most frequent.
    Targets that at least half of the samples show are kept; they are "found" unless more of the samples that answered
    call the query "ambiguous" than not. Where there is none, it takes half of the samples asked to say "not_found";
    else the reply is "ambiguous", with the targets that are shown most.

    Args:
        replies: at least one.
        asked: how many samples were asked, those that failed included.
        max_targets: most targets kept, the surest first.
    """
    votes = [_Vote(sample, target) for sample, reply in enumerate(replies) for target in reply.targets]
    clusters = _clusters(votes)
    shown = sorted(clusters, key=len, reverse=True)
    kept = [cluster for cluster in shown if 2 * len(cluster) >= asked][:max_targets]
    said = Counter(reply.status for reply in replies)
    reasoning = _representative(replies, found=bool(kept)).reasoning
    if kept:
        status: Status = "ambiguous" if 2 * said["ambiguous"] > len(replies) else "found"
        return GroundingReply(status, _targets(kept, asked), reasoning, _notes(replies, asked))
    if 2 * said["not_found"] >= asked:
        return GroundingReply("not_found", (), reasoning, _notes(replies, asked))
    unsure = [cluster for cluster in shown if len(cluster) == len(shown[0])][:max_targets]
    told = f"no two halves of the {asked} samples agree " + (
        "where it is; those shown most often are given" if unsure else "on whether it is there"
    )
    return GroundingReply("ambiguous", _targets(unsure, asked), reasoning, (told, *_notes(replies, asked)))


def _clusters(votes: Sequence[_Vote]) -> list[list[_Vote]]:
    """Each vote joins the cluster whose boxes it overlaps best on average, if it does by half."""
    clusters: list[list[_Vote]] = []
    for vote in votes:
        near = [
            (sum(vote.target.box.iou(other.target.box) for other in cluster) / len(cluster), index)
            for index, cluster in enumerate(clusters)
            if all(other.sample != vote.sample for other in cluster)
        ]
        best, index = max(near, default=(0.0, -1))
        if best >= _SAME:
            clusters[index].append(vote)
        else:
            clusters.append([vote])
    return clusters


def _targets(clusters: Sequence[Sequence[_Vote]], asked: int) -> tuple[Target, ...]:
    found = []
    for cluster in clusters:
        boxes = [vote.target.box for vote in cluster]
        x1, y1, x2, y2 = (round(median(corner)) for corner in zip(*boxes, strict=True))
        phrase = Counter(vote.target.phrase for vote in cluster).most_common(1)[0][0]
        found.append(Target(Box(x1, y1, x2, y2), phrase, len(cluster) / asked))
    return tuple(found)


def _representative(replies: Sequence[GroundingReply], *, found: bool) -> GroundingReply:
    return next((reply for reply in replies if bool(reply.targets) == found), replies[0])


def _notes(replies: Sequence[GroundingReply], asked: int) -> tuple[str, ...]:
    lost = asked - len(replies)
    own = [f"{lost} of {asked} samples gave no valid answer and count as disagreement"] if lost else []
    if len(replies) > 1 and len({_exactly(reply) for reply in replies}) == 1 and replies[0].targets:
        own.append(
            f"all {len(replies)} samples are the same to the last digit; a server that ignores the temperature "
            "answers so, and then their agreement says nothing"
        )
    return tuple(dict.fromkeys([*own, *(note for reply in replies for note in reply.notes)]))


def _exactly(reply: GroundingReply) -> tuple[object, ...]:
    return tuple((tuple(target.box), target.phrase) for target in reply.targets)

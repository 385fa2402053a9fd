"""What the authors' released judge does with a reply, so that its effect can be counted (`qwen_api_server_3.py`).

It looks for each score by itself with regular expressions and puts 3 where it finds none, so a refusal, a broken
reply and an empty one all become the middle of the scale. Here such a reply is asked for again and then missing.

Mode "released" imitates what of that judge is a choice: four criteria, a name in place of the query, the image with
colours and no plain one beside it, no written reason, and Overlap overwritten by the computed score. Not imitated:

- its prompt states the true IoU and the score that goes with it; a judge that is told the result rates nothing.
- its overlay adds green or red to one channel only; here both channels are blended (see `composite`).
- its wording: the rubric is this project's own. Replies to one prompt are not those to the other.
- 3 for what cannot be read, and clamping to 1..5 of what is out of range: both are counted as missing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.chat import ChatReply


def threes(reply: ChatReply, criteria: Sequence[str]) -> int:
    """For how many of the criteria the released judge would have put 3, had this been its only reply.

    Overlap is not among them, for it is overwritten there in any case.
    """
    text = "\n".join(call.arguments for call in reply.calls) or reply.content or ""
    return sum(not _reads(text, name) for name in criteria if name != "overlap")


def _reads(text: str, name: str) -> bool:
    """Whether it finds a number: 1 to 5 behind the name and a colon or equals sign, any behind the quoted name."""
    if re.search(rf"\"{name}\"\s*:\s*[1-5]|{name}\s*[:=]\s*[1-5]", text, re.IGNORECASE):
        return True
    quoted = re.search(rf"\"{name}\"\s*:\s*([0-9.]+)", text, re.IGNORECASE)
    return quoted is not None and re.fullmatch(r"\d+\.?\d*|\.\d+", quoted[1]) is not None

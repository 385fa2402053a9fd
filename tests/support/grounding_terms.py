"""Terms and sent pictures for tests of what a model says."""

from geoseg_agent.grounding.chat import FRAMES, Fit, SentImage, Terms
from geoseg_tools.geometry import Box


def terms_for(frame="norm1000", *, asked=None, max_targets=8, outside="tolerate"):
    return Terms(
        server="vllm",
        model="some-model",
        rungs=("tool", "plain"),
        proved=True,
        family="qwen3-vl",
        asked=FRAMES[asked or frame],
        read=FRAMES[frame],
        outside=outside,
        max_targets=max_targets,
        fit=Fit(32, 1024, 2048),
    )


def sent_as(size=(1000, 1000), window=None):
    """A picture of `size` (h, w); it shows an original of the same size unless `window` says otherwise."""
    box = Box(0, 0, size[1], size[0]) if window is None else Box(*window)
    return SentImage(tuple(size), box, "image/jpeg", "0" * 64, None)

"""The offline default: grounding and segmentation by classical computer vision, without weights.

Evidence per concept from colour, texture and shape, a small grammar of English, superpixels and a learner that
knows nothing but the image in front of it. What it has no evidence for it does not guess.
"""

from geoseg_tools.classical.ground import Found, Grounding, ground
from geoseg_tools.classical.tools import TOOL_DEFAULTS, ClassicalTools

__all__ = ["TOOL_DEFAULTS", "ClassicalTools", "Found", "Grounding", "ground"]

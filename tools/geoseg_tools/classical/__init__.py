"""The offline default: grounding and segmentation by classical computer vision, without weights.

Method: evidence per concept, a small grammar of English, and confidence from stability. Measured on real images
by `benchmarks/real.py`; what it cannot know it does not guess.
"""

from geoseg_tools.classical.ground import Found, Grounding, ground

__all__ = ["Found", "Grounding", "ground"]

"""The local tools: geometry, keypoints, fusion and the segmenters. Synchronous, numpy in and out.

No asyncio, network, traces or environment here. Frames and shapes stand in each docstring; the models
(`clip_surgery`, `sam3`) and the offline default (`classical`) are imported only by who uses them.
"""

from geoseg_tools.arrays import Heat, Mask, Points, Rgb, Size
from geoseg_tools.crop import Crop, Scene
from geoseg_tools.errors import GeometryError, KeypointError, NoPixelsError, ToolError
from geoseg_tools.fusion import Fused, fuse, valid
from geoseg_tools.geometry import Box, paste, refine, resize_nearest, whole
from geoseg_tools.keypoints import Keypoints, ThresholdPoints, threshold_points, topk_nms
from geoseg_tools.protocols import Masks, Matcher, Segmenter

__all__ = [
    "Box",
    "Crop",
    "Fused",
    "GeometryError",
    "Heat",
    "KeypointError",
    "Keypoints",
    "Mask",
    "Masks",
    "Matcher",
    "NoPixelsError",
    "Points",
    "Rgb",
    "Scene",
    "Segmenter",
    "Size",
    "ThresholdPoints",
    "ToolError",
    "fuse",
    "paste",
    "refine",
    "resize_nearest",
    "threshold_points",
    "topk_nms",
    "valid",
    "whole",
]

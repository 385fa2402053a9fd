"""The local tools: geometry, keypoints, fusion and the segmenters. Synchronous, numpy in and out.

No asyncio, network, traces or environment here. Frames and shapes stand in each docstring; the models
(`clip_surgery`, `sam3`) and the offline default (`classical`) are imported only by who uses them.
"""

from geoseg_tools.arrays import Heat, Mask, Points, Rgb, Size
from geoseg_tools.crop import Crop, Scene
from geoseg_tools.errors import (
    DeviceError,
    GeometryError,
    KeypointError,
    MemoryExhausted,
    ModelError,
    NoPixelsError,
    ToolError,
    WeightsError,
    WindowsOnlyError,
)
from geoseg_tools.fusion import Fused, fuse, valid
from geoseg_tools.geometry import Box, paste, refine, resize_nearest, whole
from geoseg_tools.keypoints import Keypoints, ThresholdPoints, threshold_points, topk_nms
from geoseg_tools.masks import Masks, Part, tight
from geoseg_tools.protocols import Matcher, Segmenter

__all__ = [
    "Box",
    "Crop",
    "DeviceError",
    "Fused",
    "GeometryError",
    "Heat",
    "KeypointError",
    "Keypoints",
    "Mask",
    "Masks",
    "Matcher",
    "MemoryExhausted",
    "ModelError",
    "NoPixelsError",
    "Part",
    "Points",
    "Rgb",
    "Scene",
    "Segmenter",
    "Size",
    "ThresholdPoints",
    "ToolError",
    "WeightsError",
    "WindowsOnlyError",
    "fuse",
    "paste",
    "refine",
    "resize_nearest",
    "threshold_points",
    "tight",
    "topk_nms",
    "valid",
    "whole",
]

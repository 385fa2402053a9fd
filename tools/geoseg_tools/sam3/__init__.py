"""SAM3 as a `Segmenter`: points or a phrase to masks, over one encoding of the crop.

Needs torch and the official package `sam3`, so it is imported only by who uses it.
"""

from geoseg_tools.sam3.encoded import Encoded
from geoseg_tools.sam3.load import load
from geoseg_tools.sam3.segmenter import Precision, Sam3, TextMode

__all__ = ["Encoded", "Precision", "Sam3", "TextMode", "load"]

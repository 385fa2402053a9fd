"""Names for the array types that cross module borders.

Sizes are (h, w); points are (x, y); boxes are (x1, y1, x2, y2), half-open.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rgb: TypeAlias = NDArray[np.uint8]
"""(h, w, 3) uint8, red green blue, 0..255."""

Mask: TypeAlias = NDArray[np.bool_]
"""(h, w) bool."""

Heat: TypeAlias = NDArray[np.float32]
"""(gh, gw) float32, one raw similarity per grid cell, row-major, higher is more alike."""

Points: TypeAlias = NDArray[np.int64]
"""(n, 2) int64, pixel indices x, y; pixel (0, 0) covers [0, 1) x [0, 1)."""

Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""

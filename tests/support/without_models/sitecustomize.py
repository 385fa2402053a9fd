"""On the path of a child process: as if the packages of the extras were not installed."""

import sys

for name in ("torch", "torchvision", "sam3", "open_clip", "timm", "psutil", "ray"):
    sys.modules[name] = None

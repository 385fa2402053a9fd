"""On the path of a child process: as if the packages of the extra [models] were not installed."""

import sys

for name in ("torch", "torchvision", "sam3", "open_clip", "timm", "psutil"):
    sys.modules[name] = None

"""Runs first in every Python that has this folder on its path: the children of `transformers_peer`, no others."""

from torchvision_stub import ensure_torchvision

ensure_torchvision()

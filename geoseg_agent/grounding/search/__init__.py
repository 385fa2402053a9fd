"""Searching an image window by window, for things that are too small for one picture of the whole."""

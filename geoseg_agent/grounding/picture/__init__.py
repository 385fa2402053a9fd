"""The picture that a model is sent: its size, its pixels, and the targets drawn over it."""

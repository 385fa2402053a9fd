"""Stage 1, backends by name: image and query in, targets out."""

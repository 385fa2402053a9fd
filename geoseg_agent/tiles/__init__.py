"""A region larger than what the tools look at, in overlapping pieces, and what comes of the pieces as one answer."""

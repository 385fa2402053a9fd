"""`geoseg doctor grounding`: what an endpoint's boxes mean, found by asking for boxes that are known."""

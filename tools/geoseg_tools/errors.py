"""What the local tools raise. The agent maps them to its own tree in one place, `geoseg_agent.toolbox`."""


class ToolError(Exception):
    """A tool was handed something it cannot work with, or failed at its work."""


class GeometryError(ToolError, ValueError):
    """A box, size or mask that breaks an invariant; the message names the value and the rule."""


class KeypointError(ToolError, ValueError):
    """A similarity grid or parameter that `keypoints` does not accept."""


class NoPixelsError(ToolError):
    """Pixels were asked of a scene that was rebuilt from a trace and only has a size and a digest."""

"""What the local tools raise. The agent maps them to its own tree in one place, `geoseg_agent.guard`."""


class ToolError(Exception):
    """A tool was handed something it cannot work with, or failed at its work.

    Attributes:
        hint: what to do about it, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class GeometryError(ToolError, ValueError):
    """A box, size or mask that breaks an invariant; the message names the value and the rule."""


class KeypointError(ToolError, ValueError):
    """A similarity grid or parameter that `keypoints` does not accept."""


class NoPixelsError(ToolError):
    """Pixels were asked of a scene that was rebuilt from a trace and only has a size and a digest."""


class WindowsOnlyError(NoPixelsError):
    """All pixels at once were asked of a scene that is read from its file in windows; `Scene.view` gives one."""


class DeviceError(ToolError):
    """There is no such device on this machine; the message lists those there are."""


class ModelError(ToolError):
    """A model that a tool cannot use, or that goes by no known name."""


class WeightsError(ToolError):
    """Weights that are not there, cannot be read, or belong to another model."""


class MemoryExhausted(ToolError):
    """A model ran out of the memory of its device; what it had taken for the call is given back."""

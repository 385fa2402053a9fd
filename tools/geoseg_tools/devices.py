"""Where a model computes: devices by name, and what running out of their memory looks like.

Needs torch, so it is imported by the models only.
"""

from __future__ import annotations

import gc
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import torch

from geoseg_tools.errors import DeviceError, MemoryExhausted

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

T = TypeVar("T")


def available() -> tuple[str, ...]:
    """The devices of this machine, the best first: every CUDA device, Apple's GPU, the CPU."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return (*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu")


def device_of(name: str) -> torch.device:
    """The device called `name`: auto (the best there is), cpu, cuda, cuda:N or mps.

    Raises:
        DeviceError: this machine has none of that name.
    """
    known = available()
    wanted = {"auto": known[0], "cuda": "cuda:0"}.get(name, name)
    if wanted not in known:
        remedy = f"this machine has {', '.join(known)}"
        if wanted.startswith("cuda") and not torch.backends.cuda.is_built():
            remedy += "; this torch is built without CUDA"
        raise DeviceError(f"there is no device {name!r}", hint=remedy)
    return torch.device(wanted)


def memory_of(device: torch.device) -> tuple[int, int]:
    """Free and total memory of the device in bytes; of the machine where the device is the CPU."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(free), int(total)
    if device.type == "mps":
        total = int(torch.mps.recommended_max_memory())
        return total - int(torch.mps.driver_allocated_memory()), total
    machine = psutil.virtual_memory()
    return int(machine.available), int(machine.total)


def peak_of(device: torch.device) -> int:
    """The most bytes that this process has held on the device so far; what it holds now on Apple's GPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # noqa: PLC0415 - there is none on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def name_of(device: torch.device) -> str:
    """What the hardware calls itself."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type


def on(device: torch.device) -> AbstractContextManager[object]:
    """Make `device` the one that "cuda" without a number means, inside the block and on this thread."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def bounded(device: torch.device, doing: str, job: Callable[..., T], *args: Any) -> T:
    """What `job` gives; running out of memory becomes MemoryExhausted, with what was taken given back.

    Args:
        device: whose memory is meant.
        doing: what the job does, for the message.
        job: what is to be done on the device.
        args: of the job.

    Raises:
        MemoryExhausted: the device has no more memory.
    """
    try:
        return job(*args)
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        said = str(error).splitlines()[0] if str(error) else "no reason given"
    # Out here the error is gone, and with its traceback the arrays that the failed job had made. A context manager
    # could not do this: what it raises would carry the error along.
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    raise MemoryExhausted(
        f"{device} ran out of memory while {doing}: {said}",
        hint="lower GEOSEG_MAX_ENCODED, give a smaller box, or free the device",
    )


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The allocators of the CPU and of Apple's GPU have no class of their own.
    text = str(error)
    return "DefaultCPUAllocator" in text or "out of memory" in text or "not enough memory" in text

"""The file seam of traces, watched: which calls came in which order, which files are open, and calls that fail."""

import errno
import os

from geoseg_agent.trace.files import DiskFiles


class WatchedFiles(DiskFiles):
    """The real calls, noted; those that `fails` says yes to (number from 1, name) raise after half their work."""

    def __init__(self, fails=lambda number, name: False):
        self.calls = []
        self.open = {}
        self.fails = fails

    def _enter(self, name, path):
        self.calls.append((name, path))
        return self.fails(len(self.calls), name)

    def create(self, path):
        if self._enter("create", path.name):
            raise OSError(errno.ENOSPC, "No space left on device")
        descriptor = super().create(path)
        self.open[descriptor] = path.name
        return descriptor

    def write(self, descriptor, data):
        if self._enter("write", self.open[descriptor]):
            os.write(descriptor, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(descriptor, data)

    def fsync(self, descriptor):
        if self._enter("fsync", self.open[descriptor]):
            raise OSError(errno.EIO, "Input/output error")
        super().fsync(descriptor)

    def close(self, descriptor):
        failing = self._enter("close", self.open.pop(descriptor))
        super().close(descriptor)
        if failing:
            raise OSError(errno.EIO, "Input/output error")

    def replace(self, source, target):
        if self._enter("replace", f"{source.name} -> {target.name}"):
            raise OSError(errno.EIO, "Input/output error")
        super().replace(source, target)

    def fsync_folder(self, folder):
        if self._enter("fsync_folder", ""):
            raise OSError(errno.EIO, "Input/output error")
        super().fsync_folder(folder)

    def unlink(self, path):
        if self._enter("unlink", path.name):
            raise OSError(errno.EIO, "Input/output error")
        super().unlink(path)

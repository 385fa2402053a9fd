"""Freed memory goes back to the system where the C library can do that."""

import sys

import psutil
import pytest

from geoseg_agent.runs.freed import give_back

BLOCKS, SIZE = 4000, 50_000


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has a way to")
def test_what_was_freed_between_blocks_in_use_goes_back():
    process = psutil.Process()
    # Below the size that is mapped on its own; what stays in use keeps the heap from shrinking by itself.
    blocks = [bytearray(SIZE) for _ in range(BLOCKS)]
    kept = blocks[::50]
    del blocks
    before = process.memory_info().rss
    assert give_back()
    assert before - process.memory_info().rss > BLOCKS * SIZE / 2
    assert len(kept) == BLOCKS // 50

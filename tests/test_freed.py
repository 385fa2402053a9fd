"""Large blocks of freed memory go back to the system where the C library can be told to."""

import sys

import psutil
import pytest

from geoseg_agent.runs.freed import keep_large_blocks_apart

COUNT, SIZE = 100, 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told to")
def test_what_is_freed_goes_back_though_a_later_block_is_in_use():
    assert keep_large_blocks_apart()
    process = psutil.Process()
    # Of itself the C library would learn from this one to keep blocks of its size.
    learnt = bytearray(8 * SIZE)
    del learnt
    blocks = [bytearray(SIZE) for _ in range(COUNT)]
    kept = blocks[-1]
    before = process.memory_info().rss
    del blocks
    assert before - process.memory_info().rss > 0.8 * COUNT * SIZE
    assert len(kept) == SIZE

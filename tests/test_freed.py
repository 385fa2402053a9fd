"""Large blocks of freed memory go back to the system where the C library can be told to."""

import platform
import subprocess
import sys

import pytest

COUNT, SIZE = 100, 1 << 20
CODE = f"""
import psutil, sys
from geoseg_agent.runs.freed import keep_large_blocks_apart
if sys.argv[1] == "apart":
    assert keep_large_blocks_apart()
process = psutil.Process()
# Of itself the C library learns from this one to keep blocks of its size.
learnt = bytearray({8 * SIZE})
del learnt
blocks = [bytearray({SIZE}) for _ in range({COUNT})]
kept = blocks[-1]
before = process.memory_info().rss
del blocks
print(before - process.memory_info().rss)
"""


def given_back(how):
    """Bytes that a process of its own, whose heap holds no gaps yet, gives back of `COUNT` freed blocks."""
    child = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return int(child.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to")
def test_what_is_freed_goes_back_though_a_later_block_is_in_use():
    assert given_back("apart") > 0.8 * COUNT * SIZE
    assert given_back("as it is") < 0.2 * COUNT * SIZE

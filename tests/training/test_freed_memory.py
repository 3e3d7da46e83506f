"""Memory that is freed and needed again."""

import platform
import subprocess
import sys

import pytest

ALLOCATE = """
import resource
from seqtrain.training.freed_memory import keep_freed_memory
assert keep_freed_memory()
faults = []
for _ in range(4):
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(30_000_000)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun)
print(faults[-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_the_second_large_block_needs_no_new_pages() -> None:
    found = subprocess.run(
        [sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True
    )
    assert int(found.stdout) < 100  # of the 7,300 that the block has

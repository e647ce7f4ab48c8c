"""Freed memory stays with a process on glibc, unless its user decided otherwise."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

FAULTS = """
import ctypes, resource
from kerasft.host_memory import keep_freed_blocks, share_one_heap
from threading import Thread
share_one_heap()
keep_freed_blocks()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]

def once():
    block = library.malloc(2**28)
    ctypes.memset(block, 1, 2**28)
    library.free(block)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = Thread(target=once)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""
PAGES = 2**28 // 4096


def faults_of_the_second_time(**settings: str) -> int:
    environment = {k: v for k, v in os.environ.items() if "MALLOC" not in k} | settings
    environment.pop("GLIBC_TUNABLES", None)
    environment |= settings
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_large_block_of_another_thread_is_taken_again_without_page_faults():
    assert faults_of_the_second_time() < PAGES / 100


@pytest.mark.parametrize(
    "theirs", [{"MALLOC_ARENA_MAX": "4"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"}]
)
def test_what_the_user_set_stays(theirs):
    assert faults_of_the_second_time(**theirs) > PAGES / 2

"""Freed memory is used again: counted by the pages that the system has to hand out."""

import json
import subprocess
import sys

import pytest

TOUCHED = """
import json, resource, sys
from threading import Thread
import torch
from potstill.core.memory import keep_freed_memory

kept = sys.argv[1] == "kept" and keep_freed_memory()

pages = []

def work():
    for _ in range(30):
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        torch.ones(2**24)

thread = Thread(target=work)
thread.start()
thread.join()
print(json.dumps([kept, pages[-1] - pages[-11]]))
"""


def touched(arm):
    """Whether memory is kept, and how many fresh pages ten tensors of 64 MiB touch in a thread, one after another."""
    done = subprocess.run([sys.executable, "-c", TOUCHED, arm], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_freed_memory_is_used_again():
    kept, pages = touched("kept")
    if not kept:
        pytest.skip("this C library can't be told to keep memory")
    _, usual = touched("usual")
    assert pages < usual / 10, (pages, usual)

"""Memory: the C library's allocator told to keep what dead tensors leave, and the errors where there is no more."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Lets this process use freed memory again instead of giving it back to the system; False where it can't be told.

    Source: mallopt(3) of glibc. It maps every large tensor anew and unmaps it when it dies, so that a net trained
    on a CPU touches fresh pages in each step, which the kernel has to clear: `benchmarks/speed/memory.py` says what
    that costs. One arena serves all threads, as others hold no large tensors. The peak of memory may rise, to 1.7
    times in the worst case measured there, as holes are not always filled. It holds for the whole process, so a
    program decides it, early, and no library call does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    wanted = {TRIM_THRESHOLD: MOST, MMAP_THRESHOLD: MOST, ARENA_MAX: 1}
    return all(mallopt(name, value) for name, value in wanted.items())


def out_of_memory(error: BaseException) -> bool:
    """Whether an accelerator or this machine had no room; torch's allocator for the CPU raises a RuntimeError.

    torch's own error is told by its name, as torch is slow to import.
    """
    kind, told = type(error).__name__, str(error)
    return isinstance(error, MemoryError) or kind == "OutOfMemoryError" or "can't allocate memory" in told

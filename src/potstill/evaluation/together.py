"""Jobs side by side: each on a Python thread of its own that computes on one core."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Event
from typing import TypeVar

import torch

from potstill.core.progress import OnStep, Step

Made = TypeVar("Made")

Check = Callable[[], None]
"""To be called now and then: raises `Stopped` where the work is not wanted any more."""


class Stopped(Exception):
    """Ends a job whose result nobody waits for."""


def at_once(device: torch.device | str) -> int:
    """How many students train at the same time: as many as a CPU has threads to give, one on an accelerator.

    One thread a student leaves no core waiting for another and makes a student's bits independent of their number.
    """
    return torch.get_num_threads() if torch.device(device).type == "cpu" else 1


def side_by_side(
    jobs: Sequence[Callable[[OnStep, Check], Made]],
    *,
    threads: int,
    keep: Callable[[Made], None],
    on_step: OnStep,
) -> None:
    """Does jobs in their order, `threads` at a time, each with one core for torch to compute on.

    `keep` gets what each job made as soon as it is done, `on_step` the steps that jobs tell of; both are called in
    the caller's thread. The first error, of a job, of `keep` or of `on_step`, stops the others at their next check
    and is raised as it is, and so is Ctrl-C.
    """
    news: SimpleQueue[Step | Future[Made]] = SimpleQueue()
    stop = Event()
    before = torch.get_num_threads()

    def check() -> None:
        if stop.is_set():
            raise Stopped

    pool = ThreadPoolExecutor(threads, "student", torch.set_num_threads, (1,))
    try:
        for job in jobs:
            pool.submit(job, news.put, check).add_done_callback(news.put)
        missing = len(jobs)
        while missing:
            try:
                new = news.get(timeout=1)
            except Empty:  # an interrupt that came just before the wait is seen between two
                continue
            if isinstance(new, Step):
                on_step(new)
            else:
                missing -= 1
                keep(new.result())
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)

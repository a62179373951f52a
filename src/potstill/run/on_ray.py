"""Ray as the executor: workers that ready a tool once and do tasks, on this machine or a cluster."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic

import torch

from potstill.core.errors import PotstillError
from potstill.core.memory import keep_freed_memory
from potstill.core.progress import OnStep, silent
from potstill.run.local import Crew, Done, Task, Tool

LIVES = 3
"""Workers that may die at one task, or while they get ready, one after another; then the job is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRay:
    """Processes that Ray starts; the caller's process hands out tasks and keeps what comes back.

    `workers` None is as many as Ray has room for: a GPU each where the device is "cuda", otherwise as many cores each
    as torch has threads here. `address` is a cluster's ("auto" finds one on this machine); None starts Ray here, for as
    long as it is needed. A Ray that the caller has initialised is used as it is, and left running.
    """

    workers: int | None = None
    address: str | None = None
    apart: ClassVar[bool] = True

    @contextmanager
    def crew(self, ready: Callable[[], Tool], *, device: str) -> Iterator[Crew[Tool]]:
        """Workers, ended at the end; raises PotstillError where Ray is missing, unreachable or has no room."""
        if device.startswith("cuda:"):
            raise PotstillError(f"Ray gives each worker a GPU of its own: --device cuda, not {device}")
        ray, needs = _ray(), _needs(device)
        own = not ray.is_initialized()
        try:
            if own:
                self._connect(ray, needs)
            members = RayCrew(ray, ready, self._count(ray, needs), needs)
            try:
                yield members
            finally:
                members.dismiss()
        finally:
            if own:
                ray.shutdown()

    def _connect(self, ray: Any, needs: dict[str, int]) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if self.address is None:
            cores = None if self.workers is None else self.workers * needs["num_cpus"]
            ray.init("local", num_cpus=cores, include_dashboard=False, **quiet)
            return
        try:
            ray.init(self.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise PotstillError(f"no Ray cluster answers at {self.address!r}: {error}") from error

    def _count(self, ray: Any, needs: dict[str, int]) -> int:
        """How many workers; a cluster may grow to hold more than it has room for now, this machine may not."""
        held = ray.cluster_resources()
        names = {"num_cpus": "CPU", "num_gpus": "GPU"}
        room = int(min(held.get(names[name], 0) // number for name, number in needs.items()))
        count = self.workers or room
        if count < 1 or (count > room and self.address is None):
            raise PotstillError(f"Ray has room for {room} workers of {needs} here, not for {count}")
        return count


class Worker:
    """One process of a crew."""

    def ready(self, ready: Callable[[], Any], folder: str) -> None:
        """Readies the tool, in the folder that the driver is in, so that relative paths mean the same."""
        keep_freed_memory()
        with suppress(OSError):
            os.chdir(folder)
        self.tool = ready()

    def do(self, do: Callable[..., Any], task: Any) -> Any:
        """One task."""
        return do(self.tool, task, silent)


@dataclass(frozen=True, slots=True)
class Job:
    """A task, or None for getting ready, and how many workers died at it."""

    task: Any
    lost: int = 0


class RayCrew(Generic[Tool]):
    """Workers of which each has one task at a time; what a dead one had in hand goes to another."""

    def __init__(self, ray: Any, ready: Callable[[], Tool], count: int, needs: dict[str, int]) -> None:
        self._ray, self._ready = ray, ray.put(ready)
        environment = {"env_vars": _environment()}
        self._worker = ray.remote(Worker).options(runtime_env=environment, max_restarts=0, **needs)
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Job]] = {}
        for _ in range(count):
            self._hire(Job(None))

    def ask(self, question: Callable[[Tool], Done]) -> Done:
        """The answer of whoever is ready first."""
        ((_, answer),) = self.each(_answer, [question], silent)
        return answer

    def each(
        self, do: Callable[[Tool, Task, OnStep], Done], tasks: Iterable[Task], on_step: OnStep
    ) -> Iterator[tuple[Task, Done]]:
        """Every task with what was done, in the order of finishing; steps within a task are not told of.

        An error of a task is raised as it was raised there. Raises PotstillError that names the task at which `LIVES`
        workers died one after another.
        """
        again, fresh, under_way = deque[Job](), (Job(task) for task in tasks), 0

        def hand_out() -> int:
            given = 0
            while self._idle and (job := again.popleft() if again else next(fresh, None)):
                worker = self._idle.pop()
                self._busy[worker.do.remote(do, job.task)] = worker, job
                given += 1
            return given

        while True:
            under_way += hand_out()
            if not under_way and not again and self._idle:
                return
            worker, job, result, lost = self._wait()
            under_way -= job.task is not None
            if lost is None:
                self._idle.append(worker)
                if job.task is not None:
                    under_way += hand_out()  # no worker waits while the caller keeps what came back
                    yield job.task, result
                continue
            job = replace(job, lost=job.lost + 1)
            if job.lost == LIVES:
                at = "getting ready" if job.task is None else job.task
                raise PotstillError(f"{LIVES} workers died one after another at: {at} ({lost})") from None
            if job.task is not None:
                again.append(job)
            self._hire(job if job.task is None else Job(None))

    def dismiss(self) -> None:
        """Ends every worker, whatever it has in hand."""
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            self._ray.kill(worker)

    def _hire(self, job: Job) -> None:
        worker = self._worker.remote()
        self._busy[worker.ready.remote(self._ready, str(Path.cwd()))] = worker, job

    def _wait(self) -> tuple[Any, Job, Any, str | None]:
        """The next worker that is done with its job, and what it made or how it was lost."""
        (first, *_), _ = self._ray.wait(list(self._busy), num_returns=1)
        worker, job = self._busy.pop(first)
        try:
            return worker, job, self._ray.get(first), None
        except self._ray.exceptions.RayTaskError as error:
            self._idle.append(worker)
            raise (error.cause or error) from None
        except self._ray.exceptions.RayError as error:
            self._ray.kill(worker)
            return worker, job, None, " ".join(str(error).split())


def _answer(tool: Tool, question: Callable[[Tool], Done], on_step: OnStep) -> Done:
    return question(tool)


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise PotstillError("--on ray needs the package ray: pip install 'potstill[ray]'") from None
    return ray


def _needs(device: str) -> dict[str, int]:
    return {"num_cpus": 1, "num_gpus": 1} if device == "cuda" else {"num_cpus": torch.get_num_threads()}


def _environment() -> dict[str, str]:
    """What a worker's process begins with: this package, and as many threads, which decide the last bits."""
    home = str(Path(__file__).parents[2])
    paths = [home, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "PYTHONPATH": os.pathsep.join(path for path in dict.fromkeys(paths) if path),
    }

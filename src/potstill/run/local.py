"""Executors: who does the tasks of a job. The one here is this process, one task after another."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

from potstill.core.progress import OnStep

Tool = TypeVar("Tool")
Held = TypeVar("Held", covariant=True)
Task = TypeVar("Task")
Done = TypeVar("Done")


class Crew(Protocol[Held]):
    """Whoever does the tasks: each member has readied a tool of its own."""

    def ask(self, question: Callable[[Held], Done]) -> Done:
        """One member's answer."""
        ...

    def each(
        self, do: Callable[[Held, Task, OnStep], Done], tasks: Iterable[Task], on_step: OnStep
    ) -> Iterator[tuple[Task, Done]]:
        """Every task with what was done, as soon as it is done, in any order; tasks are taken one by one."""
        ...


class Executor(Protocol):
    """Where a crew comes from; `apart` where its members don't share this process and its folders."""

    @property
    def apart(self) -> bool:
        """Whether the crew works in other processes."""
        ...

    def crew(self, ready: Callable[[], Tool], *, device: str) -> AbstractContextManager[Crew[Tool]]:
        """A crew whose members call `ready` once each, for the length of a `with`."""
        ...


@dataclass(frozen=True, slots=True)
class InProcess:
    """The executor that is this process."""

    apart: ClassVar[bool] = False

    @contextmanager
    def crew(self, ready: Callable[[], Tool], *, device: str) -> Iterator[Crew[Tool]]:
        """A crew of one."""
        yield Alone(ready())


@dataclass(frozen=True, slots=True)
class Alone(Generic[Tool]):
    """One tool, used here and now."""

    tool: Tool

    def ask(self, question: Callable[[Tool], Done]) -> Done:
        """The answer."""
        return question(self.tool)

    def each(
        self, do: Callable[[Tool, Task, OnStep], Done], tasks: Iterable[Task], on_step: OnStep
    ) -> Iterator[tuple[Task, Done]]:
        """The tasks in their order."""
        for task in tasks:
            yield task, do(self.tool, task, on_step)

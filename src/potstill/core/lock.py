"""A folder or a file held by one process at a time."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from potstill.core.errors import PotstillError

LOCK = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes a folder and holds it for the length of a `with`; what is still empty then is taken away again.

    The kernel lets go of it however the process ends. A disk that knows no locks or can only be read holds nobody off.
    Raises PotstillError that names the process that holds it, and where the folder can't be made.
    """
    if folder.is_file():
        raise PotstillError(f"{folder} is a file: name a folder")
    fresh = not folder.exists()
    _make(folder)
    with _held(folder / LOCK, folder, "folder"):
        try:
            yield
        finally:
            _leave(folder / LOCK, fresh)


@contextmanager
def alone_with(file: Path) -> Iterator[None]:
    """Makes a file's folder and holds the file, which need not be there, for the length of a `with`; as `alone`."""
    folder, lock = file.parent, file.with_name(f".{file.name}{LOCK}")
    fresh = not folder.exists()
    _make(folder)
    with _held(lock, file, "file"):
        try:
            yield
        finally:
            _leave(lock, fresh)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PotstillError(f"cannot make {folder}: {error.strerror}") from error


def _leave(lock: Path, fresh: bool) -> None:
    """Takes the lock away, and a folder that was made for it and is empty."""
    with suppress(OSError):
        lock.unlink()
        if fresh:
            lock.parent.rmdir()


def _held(file: Path, place: Path, kind: str) -> AbstractContextManager[object]:
    """The open lock file of whoever holds a place; a file that its holder took away meanwhile is opened anew."""
    while True:
        try:
            held = file.open("a+", encoding="utf-8")
        except OSError:
            return nullcontext()
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with held:
                held.seek(0)
                holder = held.read() or "another process"
            raise PotstillError(
                f"{place} is being filled by {holder}: wait for it, or name another {kind}"
            ) from None
        except OSError:
            return held
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held.fileno()), file.stat()):
                held.truncate(0)
                held.write(f"process {os.getpid()} on {socket.gethostname()}")
                held.flush()
                return held
        held.close()

"""Files that survive crashes, and directories that are ours: atomic writes, fsync, the run lock."""

import fcntl
import json
import os
import shutil
import socket
import stat
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from seqtrain.errors import MachineError


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file in one step: whoever looks sees the old content or the new, never a part.

    A crash may leave `.tmp-<name>-<32 hex digits>` beside it. An OSError leaves nothing.
    """
    temporary = path.with_name(temporary_name(path.name))
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def record(path: Path, text: str) -> None:
    """Replaces a file of a run in one step.

    Raises:
        MachineError: It cannot be written; says how much space there is.
    """
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        disk = os.statvfs(path.parent)
        raise MachineError(
            f"Cannot write {path}: {error.strerror}; {len(text)} bytes needed, "
            f"{disk.f_bavail * disk.f_frsize} free."
        ) from error


def as_typed(path: Path) -> Path:
    """Returns a path as people type it: from the working folder, where it lies in it."""
    here, whole = Path.cwd(), path.absolute()
    return whole.relative_to(here) if whole.is_relative_to(here) else path


def temporary_name(name: str) -> str:
    """Returns a name that nothing else has, for what will be renamed to `name` when complete."""
    return f".tmp-{name}-{uuid.uuid4().hex}"


def sync_directory(path: Path) -> None:
    """Makes names that were created, renamed or removed in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: memoryview) -> None:
    """Writes all of a memoryview of bytes, however little each call takes."""
    while data.nbytes:
        data = data[os.write(descriptor, data) :]


def remove_tree(path: Path) -> None:
    """Removes a directory with all it holds, or a file. Links go, what they point to stays."""
    if stat.S_ISDIR(path.lstat().st_mode):
        shutil.rmtree(path)
    else:
        path.unlink()


def ensure_writable_directory(path: Path) -> None:
    """Creates a directory, if need be, and tries whether files can be created in it.

    Raises:
        MachineError: They cannot: the disk is read-only, the path is a file, permission is missing.
    """
    probe = path / temporary_name("probe")
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        where = path if error.filename in (None, str(probe)) else error.filename
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise MachineError(
            f"Cannot write in the directory {path}: {where}: {reason}. Choose another directory, "
            "or change its permissions."
        ) from error


class RunLock:
    """Keeps a second run out of a run directory; a context manager.

    The lock is an flock on `run.lock`: it goes with its process, however that ends. Children
    of a fork do not hold it. The file stays, since removing it would let two runs in.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "run.lock"
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Takes the lock.

        Raises:
            MachineError: Another run holds it, or the file system has no locks.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise MachineError(f"Cannot open the lock {self.path}: {error.strerror}.") from error
        try:
            self._lock(descriptor)
            with suppress(OSError):  # on a full disk the lock holds all the same
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _describe_holder(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        # An orphaned data worker must not hold the lock of a run that was killed.
        os.register_at_fork(after_in_child=self._close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Releases the lock."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
        self._close()

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MachineError(
                f"{self.path.parent} is in use by {_read_holder(descriptor)}. Wait for that run, "
                "stop it, or choose another run_dir."
            ) from error
        except OSError as error:
            raise MachineError(
                f"Cannot lock {self.path}: {error.strerror}. Choose a run_dir on a file system "
                "with locks."
            ) from error

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _describe_holder() -> bytes:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
    return json.dumps(holder).encode() + b"\n"


def _read_holder(descriptor: int) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"pid {holder['pid']} on host {holder['host']} since {holder['started']}"
    return "another run that does not say which"

"""OUT.parts: what a folder is prepared in, so that an interrupted command can go on."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seqtrain.data.prepare_options import JOIN, PrepareOptions
from seqtrain.errors import ConfigError, DataError, MachineError
from seqtrain.files import sync_directory, write_atomically

KIND = "seqtrain parts"
PLAN = "plan.json"
READY, REPLACED = "ready", "replaced"


class WorkFolder:
    """The folder beside `out` in which parts are made, joined, and renamed to `out`.

    Args:
        out: What will be there in the end.
        fingerprint: Hash of the text and the settings.
        options: Which part is made, and whether others may be removed.

    Raises:
        ConfigError: It holds parts of other text or settings, or something else.
        DataError: Parts shall be joined and there are none.
    """

    def __init__(self, out: Path, fingerprint: str, options: PrepareOptions) -> None:
        self.out = out.resolve()
        self.path = self.out.with_name(f"{self.out.name}.parts")
        self.began_anew = False
        """True if an interrupted command's work was of other text or settings, and is gone."""
        self._restore()
        found = self._read_plan()
        if options.shard == JOIN:
            if found is None:
                raise DataError(f"{self.path}: no parts to join. Run shard=1/N to shard=N/N first.")
            self.num_parts = int(found["num_parts"])
        else:
            self.num_parts = options.part[1]
        plan = {"kind": KIND, "fingerprint": fingerprint, "num_parts": self.num_parts}
        if found is not None and found != plan:
            self._refuse(found, options)
            _remove(self.path)
            self.began_anew, found = True, None
        if found is None:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / PLAN, json.dumps(plan).encode())

    def log(self, split: str, number: int) -> Path:
        """Returns the path of the pieces of one part of a split."""
        return self.path / f"{split}.{number}-of-{self.num_parts}.pieces"

    def logs(self, split: str) -> list[Path]:
        """Returns the paths of the pieces of all parts of a split, in order."""
        return [self.log(split, number) for number in range(1, self.num_parts + 1)]

    def tokenizer(self, column: str) -> Path:
        """Returns the path of a tokenizer."""
        return self.path / f"tokenizer.{column}.json"

    @contextmanager
    def lock(self, number: int) -> Iterator[None]:
        """Keeps other processes from making the same part; 0 keeps them from joining.

        Raises:
            MachineError: Another process is at it.
        """
        with self._locked(self.path / f"{number}-of-{self.num_parts}.lock"):
            yield

    def begin_ready(self) -> Path:
        """Returns an empty folder for what will be `out`."""
        ready = self.path / READY
        if ready.exists():
            shutil.rmtree(ready)
        ready.mkdir()
        return ready

    def commit(self) -> None:
        """Puts the ready folder in the place of `out` and removes everything else."""
        ready, replaced = self.path / READY, self.path / REPLACED
        for path in ready.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(ready)
        if self.out.exists():
            self.out.rename(replaced)
        ready.rename(self.out)
        sync_directory(self.out.parent)
        self.remove()

    def remove(self) -> None:
        """Removes the work folder; what `commit` was about to replace goes back first."""
        self._restore()
        _remove(self.path)

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_used = os.fstat(descriptor).st_nlink == 0  # its holder finished just now
            except BlockingIOError:
                is_used = True
            if is_used:
                raise MachineError(
                    f"{self.path} is in use by another seqtrain-preprocess. Wait for it, or name "
                    "another folder as out."
                )
            yield
        finally:
            os.close(descriptor)

    def _restore(self) -> None:
        # A process that was killed between the two renames of `commit`.
        if not self.out.exists() and (self.path / REPLACED).exists():
            (self.path / REPLACED).rename(self.out)

    def _read_plan(self) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads((self.path / PLAN).read_bytes())
            if isinstance(found, dict) and found.get("kind") == KIND and "num_parts" in found:
                return found
        if not self.path.is_dir() or any(not p.name.startswith(".") for p in self.path.iterdir()):
            raise ConfigError(
                f"{self.path} is in the way: seqtrain-preprocess did not write it. Move it, or "
                "name another folder as out."
            )
        return None

    def _refuse(self, found: dict[str, Any], options: PrepareOptions) -> None:
        is_shared = found["num_parts"] != 1 or options.shard
        if is_shared and not options.overwrite:
            raise ConfigError(
                f"{self.path} holds parts of {found['num_parts']} that were made from other text "
                "or settings, or with another number of parts. Use theirs, remove the folder, or "
                "set overwrite=true."
            )
        for path in self.path.glob("*.lock"):
            with self._locked(path):
                pass


def remove_finished(out: Path, fingerprint: str) -> None:
    """Removes what a command that was killed at its very end left beside a complete folder."""
    path = out.resolve().with_name(f"{out.resolve().name}.parts")
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads((path / PLAN).read_bytes())
        if isinstance(found, dict) and found.get("fingerprint") == fingerprint:
            _remove(path)
    with suppress(OSError):
        path.rmdir()  # one that is empty


def _remove(path: Path) -> None:
    """Removes a work folder; what says that it is one goes last."""
    for each in sorted(path.iterdir(), key=lambda each: each.name == PLAN):
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()
    path.rmdir()

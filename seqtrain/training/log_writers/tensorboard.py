"""Curves for TensorBoard, in the folder `tensorboard` of the run."""

import platform
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from seqtrain.errors import CheckpointError, MachineError
from seqtrain.files import write_all
from seqtrain.training.log_writers.base import LogWriter, LogWriterConfig, register_log_writer
from seqtrain.training.log_writers.row import shortened


@dataclass(kw_only=True)
class TensorboardConfig(LogWriterConfig):
    """Curves in RUN/tensorboard; look at them with `tensorboard --logdir RUN`."""


@register_log_writer("tensorboard", config=TensorboardConfig)
class TensorboardWriter(LogWriter):
    """Writes each number as the scalar EVENT/NAME over updates.

    tensorboardX gives the records; they are written where `write` is called. Its SummaryWriter
    would leave that to a thread, and training would wait for ever on its queue once a full disk
    had ended the thread.
    """

    def __init__(
        self, config: TensorboardConfig, run_dir: Path, state: Mapping[str, Any] | None
    ) -> None:
        super().__init__(config, run_dir, state)
        try:
            from tensorboardX.proto import event_pb2, summary_pb2
            from tensorboardX.record_writer import masked_crc32c
        except ImportError as error:
            raise MachineError(
                "log_writer=tensorboard needs the package tensorboardX: pip install tensorboardX, "
                "or leave this writer out."
            ) from error
        self._event = event_pb2.Event
        self._summary = summary_pb2.Summary
        self._checksum = masked_crc32c
        folder = run_dir / "tensorboard"
        if folder.is_symlink():  # it could lead to a folder of somebody else
            raise MachineError(f"{folder} is a link, and links in a run's folder are not followed.")
        try:
            folder.mkdir(exist_ok=True)
            # TensorBoard knows the file by "tfevents"; two starts in a second need two names.
            name = f"events.out.tfevents.{int(time.time()):010d}.{platform.node()}.{time.time_ns()}"
            self._file = (folder / name).open("xb", buffering=0)
        except OSError as error:
            raise MachineError(f"Cannot write in {folder}: {error.strerror}.") from error
        self._put(file_version="brain.Event:2")
        self._num_updates = _saved_num_updates(state or {})
        if state is None or "num_updates" in state:
            # Tells TensorBoard to forget what earlier processes wrote from this step on.
            first = 0 if state is None else self._num_updates + 1
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._put(session_log=start, step=first)

    @override
    def write(self, event: str, num_updates: int, values: Mapping[str, float | int | str]) -> None:
        scalars = [
            self._summary.Value(tag=f"{event}/{name}", simple_value=value)
            for name, value in shortened(event, values).items()
            if not isinstance(value, str)
        ]
        self._num_updates = num_updates
        self._put(summary=self._summary(value=scalars), step=num_updates)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"num_updates": self._num_updates}

    @override
    def close(self) -> None:
        self._file.close()

    def _put(self, **fields: Any) -> None:
        """Appends a record at once: nothing is left in a buffer that a full disk cannot take."""
        data = self._event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(data))
        frame = b"".join([length, self._crc(length), data, self._crc(data)])
        write_all(self._file.fileno(), memoryview(frame))

    def _crc(self, data: bytes) -> bytes:
        return struct.pack("<I", self._checksum(data))


def _saved_num_updates(state: Mapping[str, Any]) -> int:
    num_updates = state.get("num_updates", 0)
    if not isinstance(num_updates, int) or num_updates < 0:
        raise CheckpointError(
            f"The checkpoint's update count of the TensorBoard log is {num_updates!r}."
        )
    return num_updates

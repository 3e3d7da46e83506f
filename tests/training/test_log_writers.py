import io
import json
import math
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.proto import event_pb2

from seqtrain.errors import CheckpointError, MachineError
from seqtrain.training.log_writers.base import LOG_WRITERS, LogWriter
from seqtrain.training.log_writers.console import ConsoleConfig, ConsoleWriter
from seqtrain.training.log_writers.fan_out import LogFanOut
from seqtrain.training.log_writers.jsonl import JsonlConfig, JsonlWriter
from seqtrain.training.log_writers.row import format_row
from seqtrain.training.log_writers.row import format_value as shown
from seqtrain.training.log_writers.tensorboard import TensorboardConfig, TensorboardWriter

TRAIN_ROW = {
    "wps": 12345.678,
    "epoch": 3,
    "train_wall": 10.0,
    "lr": 1.25e-7,
    "train_loss": 4.21309,
    "train_ppl": math.inf,
    "gnorm": 0.5,
}


def _jsonl(run_dir: Path, state: Mapping[str, Any] | None = None) -> JsonlWriter:
    return JsonlWriter(JsonlConfig(), run_dir, state)


def _rows(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_each_row_is_a_json_object_in_the_file_at_once(tmp_path: Path) -> None:
    writer = _jsonl(tmp_path)
    writer.write("train", 10, {"train_loss": 0.5, "note": "\ud800 Ž", "n": 3})
    writer.write("valid", 10, {"valid_loss": math.nan, "valid_ppl": -math.inf})
    assert _rows(tmp_path) == [
        {"event": "train", "num_updates": 10, "train_loss": 0.5, "note": "\ud800 Ž", "n": 3},
        {"event": "valid", "num_updates": 10, "valid_loss": None, "valid_ppl": None},
    ]
    writer.close()
    writer.close()


def test_a_resumed_run_cuts_off_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    first = _jsonl(tmp_path)
    first.write("train", 1, {})
    state = json.loads(json.dumps(first.state_dict()))
    first.write("train", 2, {"lost": 1})
    first.close()
    second = _jsonl(tmp_path, state)
    second.write("train", 2, {"again": 1})
    second.close()
    assert _rows(tmp_path) == [
        {"event": "train", "num_updates": 1},
        {"event": "train", "num_updates": 2, "again": 1},
    ]


def test_a_fresh_start_empties_an_old_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"old": 1}\n')
    writer = _jsonl(tmp_path)
    assert writer.state_dict() == {"offset": 0}
    writer.close()
    assert _rows(tmp_path) == []


@pytest.mark.parametrize("state", [{"offset": 10**6}, {}])
def test_a_file_that_is_too_short_is_kept_without_its_torn_line(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"old": 1}\n' + '{"torn": ' + "1" * 70_000)
    writer = _jsonl(tmp_path, state)
    writer.write("train", 1, {})
    writer.close()
    assert _rows(tmp_path) == [{"old": 1}, {"event": "train", "num_updates": 1}]


@given(text=st.text(alphabet="ab\n", max_size=12), offset=st.integers(0, 14))
def test_any_offset_leaves_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, text: str, offset: int
) -> None:
    run_dir = tmp_path_factory.mktemp("run")
    (run_dir / "metrics.jsonl").write_text(text)
    _jsonl(run_dir, {"offset": offset}).close()
    kept = (run_dir / "metrics.jsonl").read_text()
    assert kept == text[: text[:offset].rfind("\n") + 1]


@pytest.mark.parametrize("offset", ["7", -1, None])
def test_an_offset_that_is_none_is_refused(tmp_path: Path, offset: object) -> None:
    with pytest.raises(CheckpointError, match="offset in .*metrics.jsonl is not a number"):
        _jsonl(tmp_path, {"offset": offset})


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious\n")
    (tmp_path / "metrics.jsonl").symlink_to(other)
    with pytest.raises(MachineError, match="Cannot write .*metrics.jsonl"):
        _jsonl(tmp_path)
    assert other.read_text() == "precious\n"


def test_a_row_is_short_readable_and_in_a_fixed_order() -> None:
    assert format_row("train", 1200, TRAIN_ROW) == (
        "train | update 1200 | epoch 3 | loss 4.213 | ppl inf | wps 12346 | lr 1.25e-07 | "
        "gnorm 0.5 | train_wall 10"
    )
    assert format_row("epoch", 5, {"wall": 2.0, "train_loss": 1.0}) == (
        "epoch | update 5 | loss 1 | wall 2"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0005, "0.0005"), (999.96, "1000"), (-0.12345, "-0.1235"), (1e9, "1000000000")],
)
def test_numbers_show_four_digits(value: float, text: str) -> None:
    assert shown(value) == text
    assert shown(math.nan) == "nan"
    assert shown(12_345_678) == "12345678"


def test_without_a_terminal_every_row_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = ConsoleWriter(ConsoleConfig(), tmp_path, None)
    writer.message("hello")
    writer.write("train", 1, {"train_loss": 2.0})
    writer.write("valid", 1, {"valid_loss": 3.0, "valid_bleu": 27.3456})
    writer.close()
    assert capsys.readouterr().out == (
        "hello\ntrain | update 1 | loss 2\nvalid | update 1 | loss 3 | bleu 27.35\n"
    )


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_training_rows_share_a_line_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = _Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "24")
    writer = ConsoleWriter(ConsoleConfig(rich=False), tmp_path, None)
    writer.write("train", 1, {"train_loss": 2.0})
    writer.write("train", 2, {"train_loss": 1.0, "wps": 100.0})
    writer.write("valid", 2, {"valid_loss": 3.0})
    writer.write("train", 3, {})
    writer.close()
    assert screen.getvalue() == (
        "\r\x1b[Ktrain | update 1 | loss"
        "\r\x1b[Ktrain | update 2 | loss"
        "\r\x1b[Kvalid | update 2 | loss 3\n"
        "\r\x1b[Ktrain | update 3\n"
    )


def test_what_the_output_cannot_encode_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    ConsoleWriter(ConsoleConfig(), tmp_path, None).message("Ž \ud800")
    assert raw.getvalue() == b"\\u017d \\ud800\n"


PRINTING = """
import sys
from pathlib import Path
from seqtrain.training.log_writers.console import ConsoleConfig, ConsoleWriter
from seqtrain.training.log_writers.fan_out import LogFanOut
log = LogFanOut({"console": ConsoleWriter(ConsoleConfig(), Path("."), None)})
for update in range(5):
    log.write("train", update, {"train_loss": 1.0})
print("the command goes on")
log.close()
"""


@pytest.mark.parametrize("output", ["full", "broken", "closed"])
def test_a_lost_output_is_reported_once_and_ends_nothing(output: str) -> None:
    command = [sys.executable, "-c", PRINTING]
    if output == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    if output == "full":
        target = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, target = os.pipe()
        os.close(reader)
    try:
        done = subprocess.run(command, stdout=target, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(target)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "log_writer console is switched off, training goes on: " in done.stderr


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    controller, terminal = pty.openpty()
    monkeypatch.setenv("TERM", "dumb")
    with os.fdopen(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        writer = ConsoleWriter(ConsoleConfig(), tmp_path, None)
        writer.write("train", 1, {})
        assert os.read(controller, 100) == b"train | update 1\r\n"
        monkeypatch.undo()
    os.close(controller)


def _tensorboard(run_dir: Path, state: Mapping[str, Any] | None = None) -> TensorboardWriter:
    return TensorboardWriter(TensorboardConfig(), run_dir, state)


def _events(run_dir: Path) -> list[list[event_pb2.Event]]:
    """Returns the events of each file; a record is length, crc, data, crc."""
    files = []
    for path in sorted((run_dir / "tensorboard").iterdir()):
        data, events = path.read_bytes(), []
        while data:
            length = int.from_bytes(data[:8], "little")
            events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
        files.append(events)
    return files


def test_tensorboard_gets_each_number_by_event_and_name(tmp_path: Path) -> None:
    writer = _tensorboard(tmp_path)
    writer.write("train", 5, {"train_loss": 2.5, "lr": 1.0, "note": "no number"})
    writer.write("valid", 5, {"valid_bleu": 27.0})
    found = [
        (event.step, {value.tag: value.simple_value for value in event.summary.value})
        for event in _events(tmp_path)[0][2:]
    ]
    writer.close()
    assert found == [(5, {"train/loss": 2.5, "train/lr": 1.0}), (5, {"valid/bleu": 27.0})]


def test_a_resumed_run_hides_the_curves_that_came_after_its_checkpoint(tmp_path: Path) -> None:
    first = _tensorboard(tmp_path)
    first.write("train", 5, {"train_loss": 2.5})
    state = first.state_dict()
    first.write("train", 10, {"train_loss": 2.5})
    first.close()
    _tensorboard(tmp_path, state).close()
    _tensorboard(tmp_path, {}).close()
    restarts = [
        [event.step for event in events if event.HasField("session_log")]
        for events in _events(tmp_path)
    ]
    assert restarts == [[0], [6], []]


def test_every_writer_is_registered_with_its_config() -> None:
    assert {"console", "jsonl", "tensorboard"} <= set(LOG_WRITERS.names())


class _Broken(LogWriter):
    num_calls = 0

    def write(self, event: str, num_updates: int, values: Mapping[str, float | int | str]) -> None:
        self.num_calls += 1
        raise OSError(28, "No space left on device")

    def state_dict(self) -> dict[str, Any]:
        return {"kept": 1}


def test_a_writer_that_fails_is_reported_once_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, good = _Broken(None, tmp_path, None), _jsonl(tmp_path)
    log = LogFanOut({"broken": broken, "jsonl": good})
    for update in range(3):
        log.write("train", update, {})
        log.message("a line")
    states = log.state_dict()
    log.close()
    assert broken.num_calls == 1
    assert len(_rows(tmp_path)) == 3
    assert states == {"broken": {"kept": 1}, "jsonl": good.state_dict()}
    assert capsys.readouterr().err == (
        "log_writer broken is switched off, training goes on: [Errno 28] No space left on device\n"
    )


def test_a_mistake_in_a_writer_is_not_hidden(tmp_path: Path) -> None:
    log = LogFanOut({"jsonl": _jsonl(tmp_path)})
    with pytest.raises(TypeError):
        log.write("train", 1, {"train_loss": object()})  # type: ignore[dict-item] # on purpose
    log.close()


FILLING = """
import resource, signal, sys
from pathlib import Path
from seqtrain.training.log_writers.fan_out import LogFanOut
from seqtrain.training.log_writers.jsonl import JsonlConfig, JsonlWriter
from seqtrain.training.log_writers.tensorboard import TensorboardConfig, TensorboardWriter
run_dir = Path(sys.argv[1])
log = LogFanOut({
    "jsonl": JsonlWriter(JsonlConfig(), run_dir, None),
    "tensorboard": TensorboardWriter(TensorboardConfig(), run_dir, None),
})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for update in range(100):
    log.write("train", update, {"train_loss": 1.0})
log.close()
"""


def test_files_that_cannot_grow_are_reported_once_and_stay_whole(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILLING, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert sorted(line.split(" is ")[0] for line in done.stderr.splitlines()) == [
        "log_writer jsonl",
        "log_writer tensorboard",
    ]
    rows = _rows(tmp_path)
    assert [row["num_updates"] for row in rows] == list(range(len(rows)))
    assert 10 < len(rows) < 100

"""How a run ended, and the commands to go on with."""

import json
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from seqtrain.checkpoint.load import resolve
from seqtrain.errors import CheckpointError
from seqtrain.files import as_typed
from seqtrain.tasks.base import TASKS, Task
from seqtrain.training.run_config import RunConfig
from seqtrain.training.train_loop import TrainResult

_PLAIN = re.compile(r"(\.{0,2}/|[A-Za-z_])[\w./+@-]*", re.ASCII)
_SPECIAL_WORDS = {"null", "true", "false", "nan", "inf"}


def last_screen(run_dir: Path, result: TrainResult, config: RunConfig) -> list[str]:
    """Returns how the run ended, and commands that work when they are pasted."""
    if result.signal:
        return [
            f"stopped by a signal after update {result.num_updates}; everything is saved. "
            "The same command continues."
        ]
    lines = [result.ended or f"finished after {result.num_updates} updates"]
    if result.best_checkpoint is not None and result.best_metric is not None:
        best = f"best {config.checkpoint.best_metric} {result.best_metric:.4f}"
        lines.append(f"{best} in {as_typed(result.best_checkpoint)}")
    if result.test:
        scores = ", ".join(f"{name} {value:.4g}" for name, value in result.test.items())
        lines.append(f"test: {scores} (in {as_typed(run_dir) / 'test_metrics.json'})")
    return [
        *lines,
        f"in the folder {Path.cwd()} go on with:",
        *(f"  {line}" for line in next_commands(as_typed(run_dir), config, result)),
    ]


def next_commands(run_dir: Path, config: RunConfig, result: TrainResult) -> list[str]:
    """Returns command lines for what people do with a trained model, quoted for the shell."""
    checkpoint = setting("checkpoint", str(run_dir))
    # Code is never imported because a checkpoint says so.
    plugins = [setting("plugins", config.plugins)] if config.plugins else []
    split = ["split=test" if result.test else "split=valid", *_data_from_here(run_dir, config)]
    cls: type[Task] = TASKS.get(config.task.name).cls
    commands = [["seqtrain-evaluate", checkpoint, *split, *plugins]]
    if cls.build_generator is not Task.build_generator or cls.predict is not Task.predict:
        commands.append(["seqtrain-generate", checkpoint, *split, *plugins])
        commands.append(["seqtrain-serve", checkpoint, *plugins])
    report = ["seqtrain-report", setting("runs", str(run_dir))]
    out = setting("out", f"{run_dir}-exported")
    export = ["seqtrain-export", checkpoint, "format=safetensors", out, *plugins]
    commands += [report, ["seqtrain-info", checkpoint], export]
    return [" ".join(words) for words in commands]


def _data_from_here(run_dir: Path, config: RunConfig) -> list[str]:
    """Returns the setting of the data where the checkpoint knows it by another path.

    That is so where it was written by a command in another folder.
    """
    with suppress(CheckpointError, OSError, ValueError, KeyError, TypeError):
        recorded = json.loads((resolve(run_dir) / "config.json").read_text())["task"]["data"]
        if config.task.data and recorded != config.task.data:
            return [setting("data", config.task.data)]
    return []


def setting(key: str, value: str | Sequence[str]) -> str:
    """Returns key=value so that a shell and the commands read the value as it is."""
    if isinstance(value, str):
        return shlex.quote(f"{key}={_quoted(value)}")
    return shlex.quote(f"{key}=[{','.join(_quoted(item) for item in value)}]")


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _SPECIAL_WORDS:
        return value
    # Backslashes count as such, unless a quotation mark or the end follows; ${ would be replaced.
    escaped = re.sub(r"\\+(?=\"|$)", lambda found: found[0] * 2, value).replace('"', '\\"')
    return f'"{escaped}"'.replace("${", "\\${")

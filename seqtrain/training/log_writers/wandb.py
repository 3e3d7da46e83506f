"""Weights & Biases, online or into files in the folder `wandb` of the run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from seqtrain.errors import CheckpointError, MachineError
from seqtrain.option_checks import require_choice
from seqtrain.training.log_writers.base import LogWriter, LogWriterConfig, register_log_writer
from seqtrain.training.log_writers.row import shortened
from seqtrain.training.log_writers.run_settings import run_settings

_MODES = ("", "online", "offline", "disabled")


@dataclass(kw_only=True)
class WandbConfig(LogWriterConfig):
    """Rows and settings for Weights & Biases; needs `pip install 'seqtrain[wandb]'`."""

    project: str = "seqtrain"
    """Project that the run belongs to."""
    entity: str = ""
    """Account or team; empty for that of the login."""
    run_name: str = ""
    """Name of the run; empty for the name of its folder."""
    mode: str = ""
    """online, offline (files in RUN/wandb, for `wandb sync` later) or disabled; empty for what
    the variable WANDB_MODE says, else online."""

    def __post_init__(self) -> None:
        require_choice("log_writer.wandb.mode", self.mode, _MODES)


@register_log_writer("wandb", config=WandbConfig)
class WandbWriter(LogWriter):
    """Writes each value as EVENT/NAME over num_updates; a resumed run continues its run there."""

    def __init__(self, config: WandbConfig, run_dir: Path, state: Mapping[str, Any] | None) -> None:
        super().__init__(config, run_dir, state)
        try:
            import wandb
        except ImportError as error:
            raise MachineError(
                "log_writer=wandb needs a package: pip install 'seqtrain[wandb]', or leave this "
                "writer out."
            ) from error
        if (run_dir / "wandb").is_symlink():  # it could lead to a folder of somebody else
            raise MachineError(
                f"{run_dir / 'wandb'} is a link, and links in a run's folder are not followed."
            )
        self._error: type[Exception] = wandb.Error
        try:
            self._run = wandb.init(
                project=config.project,
                entity=config.entity or None,
                name=config.run_name or run_dir.resolve().name,
                id=_saved_id(state or {}),
                resume="allow",
                mode=config.mode or None,
                dir=run_dir,
                # Standard output is the console writer's.
                settings=wandb.Settings(console="off", silent=config.mode == "offline"),
            )
        except wandb.Error as error:
            raise MachineError(
                f"log_writer=wandb cannot begin: {_first_line(error)} "
                "log_writer.wandb.mode=offline needs no account and no network."
            ) from error
        # Our own count, not wandb's step: that one refuses rows that a resumed run makes again.
        self._run.define_metric("num_updates", hidden=True)
        self._run.define_metric("*", step_metric="num_updates")
        self._is_described = False

    @override
    def write(self, event: str, num_updates: int, values: Mapping[str, float | int | str]) -> None:
        row = {f"{event}/{name}": value for name, value in shortened(event, values).items()}
        try:
            if not self._is_described:
                self._run.config.update(run_settings(self.run_dir), allow_val_change=True)
                self._is_described = True
            self._run.log(row | {"num_updates": num_updates})
        except self._error as error:
            raise OSError(_first_line(error)) from error  # switches this writer off

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"id": self._run.id}

    @override
    def close(self) -> None:
        try:
            self._run.finish()
        except self._error as error:
            raise OSError(_first_line(error)) from error


def _saved_id(state: Mapping[str, Any]) -> str | None:
    saved = state.get("id")
    if saved is not None and not (isinstance(saved, str) and re.fullmatch(r"[\w-]+", saved)):
        raise CheckpointError(f"The checkpoint's name of the wandb run is {saved!r}.")
    return saved


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""RunConfig: the sections of a run, checked; and which keys may change on resume."""

import dataclasses
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from seqtrain.config_schema import parse_section, unknown_key_message
from seqtrain.criteria.base import CRITERIA
from seqtrain.data.batching import DatasetConfig
from seqtrain.distributed.context import DistributedConfig
from seqtrain.errors import ConfigError
from seqtrain.generation.base import GenerationConfig
from seqtrain.lr_schedulers.base import LR_SCHEDULERS
from seqtrain.models.base import MODELS
from seqtrain.optim.averaging import AveragingConfig
from seqtrain.optim.base import OPTIMIZERS
from seqtrain.optim.precision import PrecisionConfig
from seqtrain.option_checks import require_choice, require_fields, require_range
from seqtrain.registry import ComponentConfig, Registry
from seqtrain.tasks.base import TASKS
from seqtrain.training.callbacks.base import CALLBACKS
from seqtrain.training.log_writers.base import LOG_WRITERS


@dataclass(kw_only=True)
class OptimizationConfig:
    """How much is trained, and how an update is made."""

    max_update: int = 0
    """Stop after this many updates, counted from the run's beginning; 0 for no limit."""
    max_epoch: int = 0
    """Stop after this many passes over the data; 0 for no limit."""
    stop_time_hours: float = 0.0
    """Stop after this much time of training, restarts added up; 0 for no limit."""
    update_freq: int = 1
    """Micro-batches that each process accumulates for one update."""
    micro_batches_per_update: int = 0
    """If set, an update has so many micro-batches over all processes, whatever their number: each
    accumulates its share, and another number of processes makes the same updates. In the place of
    update_freq, which is then 1."""
    clip_norm: float = 1.0
    """Largest 2-norm of the gradient of an update; 0 for no clipping."""
    clip_value: float = 0.0
    """Largest size of a single value of the gradient, after clip_norm; 0 for no clipping."""
    grad_noise: float = 0.0
    """Variance of normal noise on the gradient of the first update, after clipping; 0 for none
    (Neelakantan et al. 2015)."""
    grad_noise_decay: float = 0.55
    """The variance of the noise on update n is grad_noise / n ** grad_noise_decay."""
    lr_reference_batch: int = 0
    """If set, optimizer.lr is for updates of so many examples, and is scaled in proportion to
    dataset.batch_size * update_freq * processes; 0 uses optimizer.lr as it is."""
    compile: bool = False
    """Train the model by code that torch's compiler makes for it; that takes a minute or more at
    the first update. For GPUs: on a CPU the layers here are faster as they are."""
    max_skipped_updates: int = 20
    """Stop after this many updates in a row with a non-finite gradient, or without the memory for
    their batch."""

    def __post_init__(self) -> None:
        require_range("optimization.update_freq", self.update_freq, least=1)
        if self.micro_batches_per_update < 0 or (
            self.micro_batches_per_update and self.update_freq > 1
        ):
            raise ConfigError(
                "optimization.micro_batches_per_update must not be negative, and takes the place "
                f"of update_freq: got {self.micro_batches_per_update} and {self.update_freq}. Leave"
                " one out."
            )
        require_fields("optimization", self, "max_update", "max_epoch", "stop_time_hours", least=0)
        require_range("optimization.lr_reference_batch", self.lr_reference_batch, least=0)
        require_range("optimization.clip_norm", self.clip_norm, least=0)
        changes = ("clip_value", "grad_noise", "grad_noise_decay")
        require_fields("optimization", self, *changes, least=0)


@dataclass(kw_only=True)
class ValidationConfig:
    """When and how the model is validated and tested."""

    splits: list[str] = field(default_factory=lambda: ["valid"])
    """Splits to validate. The first one's values are logged as `valid_loss`, another one's as
    `valid_NAME_loss`."""
    validate_interval: int = 1
    """Validate at the end of every so many epochs; 0 for never."""
    validate_interval_updates: int = 0
    """Validate after every so many updates; 0 for never."""
    validate_after_updates: int = 0
    """No validation before this many updates."""
    generate: bool = False
    """Search and score at each validation, so that a score can be `checkpoint.best_metric`."""
    test_split: str = "test"
    """Split that the best model is tested on at the end; empty for none."""
    test_interval_updates: int = 0
    """Also test the current model after every so many updates; 0 for never."""
    test_generate: bool = True
    """Search and score in tests, where the task has scorers."""


@dataclass(kw_only=True)
class CheckpointConfig:
    """When checkpoints are written, which are kept, and what a run begins from."""

    save_interval: int = 1
    """Save at the end of every so many epochs; 0 for never."""
    save_interval_updates: int = 0
    """Save after every so many updates; 0 for never."""
    keep_last: int = 3
    """Newest checkpoints kept, at least 2."""
    keep_best: int = 1
    """Best checkpoints kept besides."""
    keep_every: int = 0
    """Also keeps those after every so many updates; 0 for none."""
    background: bool = True
    """Go on training while a checkpoint is written, from a copy of the state: memory for the
    parameters and the optimizer's state once more. false: wait for the disk."""
    max_failed_saves: int = 3
    """A save that the disk refuses is reported, and the next one tries again; after this many in a
    row the run stops. 1 stops at the first."""
    best_metric: str = "valid_loss"
    """Logged name that says which checkpoint is best; it must be among the validated values."""
    maximize_best_metric: bool = False
    """Higher is better."""
    patience: int = 0
    """Stop after this many validations in a row without a new best; 0 for no limit."""
    init_from: str = ""
    """Run or checkpoint whose weights a new run begins from; nothing else is taken."""
    init_prefixes: dict[str, str] = field(default_factory=dict)
    """With init_from: renames leading parts of parameter names, saved name: own name. An empty own
    name leaves those parameters out."""

    def __post_init__(self) -> None:
        if self.keep_last < 2:
            raise ConfigError(
                f"checkpoint.keep_last must be at least 2, got {self.keep_last}: with one, a "
                "damaged checkpoint would be the end of the run."
            )
        require_range("checkpoint.keep_best", self.keep_best, least=1)
        if self.keep_every < 0 or self.max_failed_saves < 1:
            raise ConfigError(
                "checkpoint.keep_every must not be negative and max_failed_saves at least 1, got "
                f"{self.keep_every} and {self.max_failed_saves}."
            )


@dataclass(kw_only=True)
class LoggingConfig:
    """How often values are logged."""

    interval: int = 50
    """Updates between two rows of training values."""
    samples: int = 3
    """Validation examples whose outputs log_writer=samples keeps at each validation; 0 for none."""

    def __post_init__(self) -> None:
        require_range("logging.interval", self.interval, least=1)
        require_range("logging.samples", self.samples, least=0)


@dataclass(kw_only=True)
class RunConfig:
    """A whole run. The schema that Hydra composes into, and what a checkpoint records.

    Sections typed Any are chosen by name from a registry; `parse` gives them their own dataclass.
    """

    run_dir: str = "runs/seqtrain"
    """Folder of the run: checkpoints, metrics, the composed configuration."""
    seed: int = 1
    """Key of all randomness: initial weights, order of the data, dropout."""
    device: str = "auto"
    """auto, cpu or cuda."""
    plugins: list[str] = field(default_factory=list)
    """Modules, or files like ./my_model.py, that register components."""
    dry_run: bool = False
    """Build everything, run one batch, say what would be trained, and stop."""
    debug: bool = False
    """Show the traceback of errors."""
    profile: bool = False
    """Measure some updates; a table and a trace go into the folder `profile` of the run."""
    task: Any = MISSING
    model: Any = MISSING
    criterion: Any = MISSING
    optimizer: Any = MISSING
    lr_scheduler: Any = MISSING
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    ema: AveragingConfig = field(default_factory=AveragingConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    callback: dict[str, Any] = field(default_factory=dict)
    log_writer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_choice("device", self.device, ("auto", "cpu", "cuda"))
        if not self.run_dir:
            raise ConfigError("run_dir must name a folder.")

    @classmethod
    def parse(cls, container: Mapping[str, Any]) -> "RunConfig":
        """Returns the typed config of plain nested values, composed or read from a checkpoint.

        Raises:
            ConfigError: An unknown section, component or key, or a value that cannot work.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name in container:
            if name not in known:
                raise ConfigError(unknown_key_message(name, name, known))
        values = dict(container)
        chosen: dict[str, Any] = {
            kind: registry.parse(values.pop(kind, None) or {})
            for kind, registry in NAMED_SECTIONS.items()
        }
        many: dict[str, Any] = {
            kind: _parse_many(registry, values.pop(kind, None) or {})
            for kind, registry in MANY_SECTIONS.items()
        }
        placeholders = dict.fromkeys(NAMED_SECTIONS)  # omegaconf refuses to leave one missing
        config = parse_section(cls(), values | placeholders, "")
        return dataclasses.replace(config, **(chosen | many))

    def to_container(self) -> dict[str, Any]:
        """Returns plain nested values, for JSON and YAML."""
        return dataclasses.asdict(self)


NAMED_SECTIONS: dict[str, Registry[Any]] = {
    "task": TASKS,
    "model": MODELS,
    "criterion": CRITERIA,
    "optimizer": OPTIMIZERS,
    "lr_scheduler": LR_SCHEDULERS,
}
"""Sections with exactly one component."""

MANY_SECTIONS: dict[str, Registry[Any]] = {"callback": CALLBACKS, "log_writer": LOG_WRITERS}
"""Sections with any number of components, by name."""

CHANGEABLE_ON_RESUME = (
    "run_dir",
    "device",
    "plugins",
    "dry_run",
    "debug",
    "profile",
    "task.data",
    "task.shards.parts",
    "task.shards.cache",
    "dataset.num_workers",
    "dataset.prefetch",
    "dataset.timeout_seconds",
    "optimization.max_update",
    "optimization.max_epoch",
    "optimization.stop_time_hours",
    "optimization.update_freq",
    "optimization.micro_batches_per_update",
    "optimization.max_skipped_updates",
    "validation.*",
    "checkpoint.*",
    "distributed.*",
    "ema.*",
    "generation.*",
    "logging.*",
    "log_writer.*",
    "callback.*",
)
"""Keys that a resumed run may have different; everything else must be as it was."""


def changed_keys(
    saved: Mapping[str, Any], current: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Returns {dotted key: (saved value, current value)} where two containers differ."""
    old, new = _flatten(saved), _flatten(current)
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    }


def may_change_on_resume(key: str) -> bool:
    """Says whether a dotted key may differ between a checkpoint and the run that resumes it."""
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in CHANGEABLE_ON_RESUME)


def _parse_many(registry: Registry[Any], section: Mapping[str, Any]) -> dict[str, ComponentConfig]:
    return {
        name: registry.parse({"name": name} | dict(values or {}))
        for name, values in section.items()
    }


def _flatten(container: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in container.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat

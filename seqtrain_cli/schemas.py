"""The configuration schemas of the commands, stored for Hydra."""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from seqtrain.registry import registries
from seqtrain.training.run_config import RunConfig

QUIET_HYDRA = [{"override hydra/hydra_logging": "none"}, {"override hydra/job_logging": "none"}]
"""No log files and no root handler of Hydra's."""


@dataclass(kw_only=True)
class PreprocessConfig:
    """Settings of seqtrain-preprocess."""

    task: Any = None
    out: str = ""
    """Folder to write, for `task.data`."""
    num_workers: int = 1
    """Processes that encode text."""
    overwrite: bool = False
    """Replace a folder that was prepared from other text or settings."""
    shard: str = ""
    """i/n prepares part i of n, for separate jobs; join puts all parts together."""
    plugins: list[str] = field(default_factory=list)
    """Modules, or files like ./my_task.py, that register components."""
    debug: bool = False
    """Show the traceback of errors."""


@dataclass(kw_only=True)
class GenerationOverrides:
    """The fields of GenerationConfig; null means: as in training."""

    beam: int | None = None
    nbest: int | None = None
    lenpen: float | None = None
    max_len_a: float | None = None
    max_len_b: int | None = None
    min_len: int | None = None


@dataclass(kw_only=True)
class InferenceConfig:
    """What commands on a trained model share."""

    checkpoint: str = ""
    """Run folder (its best checkpoint), or one checkpoint."""
    data: str = ""
    """Folder made by seqtrain-preprocess; empty for the one that the model was trained on."""
    split: str = "test"
    """Split of the data."""
    output: str = ""
    """File to write."""
    generation: GenerationOverrides = field(default_factory=GenerationOverrides)
    """Options of search that differ from those of the run."""
    max_tokens: int = 0
    """Budget of a batch: rows x longest example; 0 for that of training."""
    batch_size: int = 0
    """Most examples in a batch; 0 for no limit but max_tokens."""
    device: str = "auto"
    """auto, cpu or cuda."""
    plugins: list[str] = field(default_factory=list)
    """Modules, or files like ./my_model.py, that register components."""
    debug: bool = False
    """Show the traceback of errors."""


@dataclass(kw_only=True)
class GenerateConfig(InferenceConfig):
    """Settings of seqtrain-generate."""

    input: str = ""
    """Text to read instead of a split: a file, or - for standard input."""


@dataclass(kw_only=True)
class EvaluateConfig(InferenceConfig):
    """Settings of seqtrain-evaluate."""

    generate: bool = True
    """Search and score as well, where the task has scorers."""


@dataclass(kw_only=True)
class AverageConfig:
    """Settings of seqtrain-average."""

    inputs: list[str] = field(default_factory=list)
    """One run folder, or several run folders (their best checkpoint) and checkpoints."""
    last: int = 0
    """The newest so many checkpoints of the run."""
    best: int = 0
    """The best so many checkpoints of the run."""
    from_update: int = 0
    """Only checkpoints after at least so many updates."""
    to_update: int = 0
    """Only checkpoints after at most so many updates; 0 for no limit."""
    output: str = ""
    """Folder to write into."""
    plugins: list[str] = field(default_factory=list)
    """Modules or files to import; averaging needs none."""
    debug: bool = False
    """Show the traceback of errors."""


def store_schemas() -> None:
    """Stores the schemas, and the whole config of commands without a file in config/."""
    store = ConfigStore.instance()
    store.store(name="run_config", node=RunConfig)
    for name, schema, chosen in (
        ("preprocess", PreprocessConfig, [{"task": "translation"}]),
        ("generate", GenerateConfig, []),
        ("evaluate", EvaluateConfig, []),
        ("average", AverageConfig, []),
    ):
        store.store(name=f"{name}_config", node=schema)
        defaults = [f"{name}_config", *chosen, "_self_", *QUIET_HYDRA]
        hydra = {"run": {"dir": "."}, "output_subdir": None, "job": {"name": name}}
        store.store(name=name, node={"defaults": defaults, "hydra": hydra})


def keys_of_type(container: type, chosen: Mapping[str, str]) -> set[str]:
    """Returns every dotted key that holds a list, or a dict with keys of the user's choice.

    Where components of a kind have a field of one name and of different types, it counts if the
    one that is chosen has it so.

    Args:
        container: list or dict.
        chosen: Names of components by kind, as far as the command line tells them.
    """
    keys: set[str] = set()
    for schema in (RunConfig, PreprocessConfig, GenerateConfig, EvaluateConfig, AverageConfig):
        keys |= _fields_of_type(container, schema, "")
    for kind, registry in registries().items():
        names = registry.names()
        if not registry.many and chosen.get(kind) in names:
            names = [chosen[kind]]
        others: set[str] = set()
        for name in names:
            prefix = f"{kind}.{name}." if registry.many else f"{kind}."
            config = registry.get(name).config
            found = _fields_of_type(container, config, prefix)
            others |= {prefix + spec.name for spec in dataclasses.fields(config)} - found
            keys |= found
        keys -= others
    return keys - registries().keys()


def _fields_of_type(container: type, schema: type, prefix: str) -> set[str]:
    keys: set[str] = set()
    hints = typing.get_type_hints(schema)
    for spec in dataclasses.fields(schema):
        kind = hints[spec.name]
        if typing.get_origin(kind) is container:
            keys.add(prefix + spec.name)
        elif isinstance(kind, type) and dataclasses.is_dataclass(kind):
            keys |= _fields_of_type(container, kind, f"{prefix}{spec.name}.")
    return keys

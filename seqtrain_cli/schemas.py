"""The configuration schemas of the commands, stored for Hydra."""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hydra.core.config_store import ConfigStore

from seqtrain.errors import ConfigError
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
    temperature: float | None = None
    no_repeat_ngram_size: int | None = None
    unkpen: float | None = None
    prefix_size: int | None = None
    sampling: bool | None = None
    sampling_topk: int | None = None
    sampling_topp: float | None = None
    sampling_minp: float | None = None
    sampling_typicalp: float | None = None
    seed: int | None = None
    diverse_beam_groups: int | None = None
    diverse_beam_strength: float | None = None
    fairseq_max_tokens: int | None = None
    fairseq_ngrams: bool | None = None
    retain_dropout: bool | None = None
    lm_weight: float | None = None
    constraints: str | None = None
    forced_prefix: bool | None = None
    contrastive_alpha: float | None = None
    mbr_samples: int | None = None
    mbr_scorer: str | None = None
    print_alignment: str | None = None
    alignment_layer: int | None = None


@dataclass(kw_only=True)
class ProcessConfig:
    """Processes that share the work."""

    num_processes: int = 1
    """Processes that the command starts on this machine; leave it at 1 under torchrun."""


@dataclass(kw_only=True)
class InferenceConfig:
    """What commands on a trained model share."""

    checkpoint: Any = ""
    """Run folder (its best checkpoint), or one checkpoint; a list of them is an ensemble."""
    language_model: str = ""
    """Run folder or checkpoint of a language model, for generation.lm_weight."""
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
    format: str = "jsonl"
    """jsonl, text, or fairseq for its lines S- T- H- D- P- with scores to base 2."""
    shard: str = ""
    """i/n does part i of n of the examples, i from 1: for separate jobs."""
    score_reference: bool = False
    """Score the references of the split instead of searching."""
    distributed: ProcessConfig = field(default_factory=ProcessConfig)
    """Processes that share the work."""


@dataclass(kw_only=True)
class EvaluateConfig(InferenceConfig):
    """Settings of seqtrain-evaluate."""

    generate: bool = True
    """Search and score as well, where the task has scorers."""
    scorers: list[str] = field(default_factory=list)
    """Registered scorers; empty for those of the run."""
    distributed: ProcessConfig = field(default_factory=ProcessConfig)
    """Processes that share the work."""


@dataclass(kw_only=True)
class InteractiveConfig(InferenceConfig):
    """Settings of seqtrain-interactive."""

    format: str = "text"
    """text, jsonl or fairseq."""


@dataclass(kw_only=True)
class ServeConfig(InferenceConfig):
    """Settings of seqtrain-serve."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """0 for any that is free."""
    max_inputs: int = 32
    """Inputs of a request."""
    max_characters: int = 4000
    """Of a text."""

    def __post_init__(self) -> None:
        if self.max_inputs < 1 or self.max_characters < 1:
            raise ConfigError(
                "max_inputs and max_characters must be at least 1, got "
                f"{self.max_inputs} and {self.max_characters}."
            )


@dataclass(kw_only=True)
class ScoreConfig:
    """Settings of seqtrain-score."""

    hypotheses: str = ""
    """File with a text a line, or JSON lines of seqtrain-generate."""
    references: list[str] = field(default_factory=list)
    """Files with one line for each text."""
    scorers: list[str] = field(default_factory=list)
    """Registered scorers; empty for all."""
    other: str = ""
    """A second system's texts, for a paired bootstrap."""
    resamples: int = 1000
    """Draws of the bootstrap."""
    seed: int = 1
    """Of the draws."""
    output: str = ""
    """File to write."""
    plugins: list[str] = field(default_factory=list)
    """Modules, or files like ./my_scorer.py, that register scorers."""
    debug: bool = False
    """Show the traceback of errors."""


@dataclass(kw_only=True)
class ImportConfig:
    """Settings of seqtrain-import."""

    checkpoint: str = ""
    """File of fairseq."""
    data: str = ""
    """Folder of fairseq-preprocess that the model was trained on."""
    trust: bool = False
    """The user knows where the checkpoint is from."""
    sentencepiece: str = ""
    """Model file that cuts raw lines into pieces."""
    config: str = ""
    """YAML file of fairseq to translate."""
    out: str = ""
    """Run folder, or file, to make."""
    plugins: list[str] = field(default_factory=list)
    """Modules or files to import; importing needs none."""
    debug: bool = False
    """Show the traceback of errors."""


@dataclass(kw_only=True)
class ReportConfig:
    """Settings of seqtrain-report."""

    runs: list[str] = field(default_factory=list)
    """Run folders, or folders of runs, such as a sweep leaves."""
    output: str = "report.html"
    """Page to write."""
    png: str = ""
    """Folder for the curves as PNG files."""
    live: bool = False
    """Serve the page, and follow the runs."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 0
    """0 for any that is free."""
    plugins: list[str] = field(default_factory=list)
    """Modules or files to import; a report needs none."""
    debug: bool = False
    """Show the traceback of errors."""


@dataclass(kw_only=True)
class ExportConfig:
    """Settings of seqtrain-export."""

    checkpoint: str = ""
    """Run folder (its best checkpoint), or one checkpoint."""
    format: str = ""
    """safetensors, huggingface, torch_export, onnx or ctranslate2."""
    out: str = ""
    """Folder to make."""
    overwrite: bool = False
    """Replace a folder that an earlier export made."""
    quantization: str = ""
    """Kind of weights for ctranslate2, such as int8; empty for float32."""
    plugins: list[str] = field(default_factory=list)
    """Modules, or files like ./my_model.py, that register components."""
    debug: bool = False
    """Show the traceback of errors."""


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


STORED_COMMANDS = {
    "preprocess": PreprocessConfig,
    "generate": GenerateConfig,
    "evaluate": EvaluateConfig,
    "average": AverageConfig,
    "interactive": InteractiveConfig,
    "score": ScoreConfig,
    "import": ImportConfig,
    "export": ExportConfig,
    "report": ReportConfig,
    "serve": ServeConfig,
}
"""Commands whose whole config is in the code, without a file in config/."""


@cache
def store_schemas() -> None:
    """Stores the schemas once, and the whole config of commands without a file in config/."""
    store = ConfigStore.instance()
    store.store(name="run_config", node=RunConfig)
    for name, schema in STORED_COMMANDS.items():
        chosen = [{"task": "translation"}] if schema is PreprocessConfig else []
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
    schemas = (RunConfig, PreprocessConfig, GenerateConfig, EvaluateConfig, AverageConfig)
    for schema in (*schemas, ReportConfig, ServeConfig, ScoreConfig):
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

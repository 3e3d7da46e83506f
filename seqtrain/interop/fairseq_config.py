"""fairseq's settings as ours: names and values that have a counterpart, and what is dropped."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped] # it has no annotations

from seqtrain.errors import ConfigError, DataError

SAME: dict[str, str] = {
    "common.seed": "seed",
    "dataset.max_tokens": "dataset.max_tokens",
    "dataset.batch_size": "dataset.batch_size",
    "dataset.num_workers": "dataset.num_workers",
    "dataset.validate_interval": "validation.validate_interval",
    "dataset.validate_interval_updates": "validation.validate_interval_updates",
    "common.log_interval": "logging.interval",
    "optimization.max_epoch": "optimization.max_epoch",
    "optimization.max_update": "optimization.max_update",
    "optimization.stop_time_hours": "optimization.stop_time_hours",
    "optimization.clip_norm": "optimization.clip_norm",
    "checkpoint.save_dir": "run_dir",
    "checkpoint.save_interval": "checkpoint.save_interval",
    "checkpoint.save_interval_updates": "checkpoint.save_interval_updates",
    "checkpoint.maximize_best_checkpoint_metric": "checkpoint.maximize_best_metric",
    "distributed_training.distributed_world_size": "distributed.num_processes",
    "generation.beam": "generation.beam",
    "generation.nbest": "generation.nbest",
    "generation.lenpen": "generation.lenpen",
    "generation.max_len_a": "generation.max_len_a",
    "generation.max_len_b": "generation.max_len_b",
    "generation.min_len": "generation.min_len",
    "generation.temperature": "generation.temperature",
    "generation.no_repeat_ngram_size": "generation.no_repeat_ngram_size",
    "task.data": "task.data",
    "task.source_lang": "task.source",
    "task.target_lang": "task.target",
    "criterion.label_smoothing": "criterion.label_smoothing",
    "criterion.report_accuracy": "criterion.report_accuracy",
    "optimizer.weight_decay": "optimizer.weight_decay",
    "lr_scheduler.warmup_updates": "lr_scheduler.warmup_updates",
    "model.dropout": "model.dropout",
    "model.attention_dropout": "model.attention_dropout",
    "model.activation_dropout": "model.activation_dropout",
    "model.activation_fn": "model.activation",
    "model.encoder_layers": "model.encoder_layers",
    "model.decoder_layers": "model.decoder_layers",
    "model.max_source_positions": "model.max_positions",
    "model.checkpoint_activations": "model.checkpoint_activations",
}
"""Keys of fairseq whose values mean the same under a key of ours."""

NAMES: dict[str, dict[str, str]] = {
    "task": {"translation": "translation"},
    "criterion": {
        "cross_entropy": "cross_entropy",
        "label_smoothed_cross_entropy": "label_smoothed_cross_entropy",
    },
    "optimizer": {"adam": "adam", "sgd": "sgd", "nag": "nag", "adagrad": "adagrad"},
    "lr_scheduler": {"inverse_sqrt": "inverse_sqrt", "fixed": "fixed"},
    "model": {"transformer": "transformer", "transformer_iwslt_de_en": "transformer"},
}
"""Components of fairseq, by kind, and what they are called here."""


_BASE = {
    **{f"{side}_embed_dim": 512 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_embed_dim": 2048 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 8 for side in ("encoder", "decoder")},
    **{f"{side}_layers": 6 for side in ("encoder", "decoder")},
    **{f"{side}_normalize_before": False for side in ("encoder", "decoder")},
    **{f"{side}_learned_pos": False for side in ("encoder", "decoder")},
    "share_decoder_input_output_embed": False,
    "dropout": 0.1,
}
_SMALL = {"encoder_ffn_embed_dim": 1024, "decoder_ffn_embed_dim": 1024,
          "encoder_attention_heads": 4, "decoder_attention_heads": 4}  # fmt: skip

DEFAULTS: dict[str, dict[str, Any]] = {
    "model.transformer": _BASE,
    "model.transformer_iwslt_de_en": _BASE | _SMALL,
    "criterion.label_smoothed_cross_entropy": {"label_smoothing": 0.0},
    "optimizer.adam": {"adam_betas": "(0.9, 0.999)", "adam_eps": 1e-8, "weight_decay": 0.0},
    "lr_scheduler.inverse_sqrt": {"warmup_updates": 4000},
}
"""What fairseq takes where a file says nothing, as far as it is another value than ours."""

BOTH_SIDES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("embed_dim", "dim", ()),
    ("ffn_embed_dim", "ffn_dim", ()),
    ("attention_heads", "num_heads", ()),
    ("normalize_before", "norm", ("post", "pre")),
    ("learned_pos", "positions", ("fairseq", "learned")),
)
"""Options of fairseq's encoder and decoder, ours, and the words for false and true."""


@dataclass
class Translation:
    """A configuration of ours, and what of fairseq's is not in it."""

    container: dict[str, Any] = field(default_factory=dict)
    """Nested values by our keys."""
    dropped: dict[str, str] = field(default_factory=dict)
    """fairseq's dotted key: why it has no counterpart."""

    def to_yaml(self, source: str) -> str:
        """Returns an experiment for `config/experiment/`, with the dropped keys as comments."""
        defaults, values = [], {}
        for name, section in self.container.items():
            if not isinstance(section, dict):
                values[name] = section
                continue
            rest = {key: value for key, value in section.items() if key != "name"}
            if "name" in section:
                defaults.append({f"override /{name}": section["name"]})
            if rest:
                values[name] = rest
        notes = [f"#   {key}: {reason}" for key, reason in self.dropped.items()]
        heading = "# Dropped:" if notes else "# Nothing was dropped."
        lines = ["# @package _global_", f"# Translated from {source}.", heading, *notes]
        return "\n".join([*lines, OmegaConf.to_yaml({"defaults": defaults} | values)])

    def put(self, key: str, value: Any) -> None:
        """Sets a dotted key."""
        *path, name = key.split(".")
        section = self.container
        for part in path:
            section = section.setdefault(part, {})
        section[name] = value


def read_fairseq_yaml(path: Path) -> Translation:
    """Translates a configuration file of fairseq-hydra-train.

    Raises:
        ConfigError: There is no such file.
        DataError: It is not YAML of that kind.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"config={path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8.") from error
    try:
        settings = OmegaConf.to_container(OmegaConf.create(text))
    except (YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise DataError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}.") from error
    if not isinstance(settings, dict):
        raise DataError(f"{path}: holds no groups such as `task:` and `model:`.")
    return translate(settings)


def translate(settings: Mapping[Any, Any]) -> Translation:
    """Returns our configuration for fairseq's groups of settings; every key of it is accounted for.

    Args:
        settings: fairseq's groups: common, task, model ...
    """
    made = Translation()
    flat = dict(_flatten(settings))
    for kind in NAMES:
        name = flat.get(f"{kind}._name", flat.get(kind))
        defaults = DEFAULTS.get(f"{kind}.{name}", {})
        flat = {f"{kind}.{key}": value for key, value in defaults.items()} | flat
    if "optimization" in settings:
        flat.setdefault("optimization.clip_norm", 0.0)
    for rule in (
        _components,
        _learning_rate,
        _update_freq,
        _precision,
        _adam,
        _checkpoints,
        _transformer,
    ):
        rule(flat, made)
    for key, value in flat.items():
        kind = key.partition(".")[0]
        if value is None:
            made.dropped[key] = "not set"
        elif key not in SAME:
            made.dropped[key] = f"no counterpart ({value!r})"
        elif kind in NAMES and kind not in made.container:
            made.dropped[key] = f"the {kind} has no counterpart"
        else:
            made.put(SAME[key], value)
    return made


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in settings.items():
        key = f"{prefix}{name}"
        rows += _flatten(value, f"{key}.") if isinstance(value, Mapping) else [(key, value)]
    return rows


Flat = dict[str, Any]


def _components(flat: Flat, made: Translation) -> None:
    for kind, names in NAMES.items():
        for key in (f"{kind}._name", kind):
            name = flat.pop(key, None)
            if name in names:
                made.put(f"{kind}.name", names[name])
            elif name is not None:
                made.dropped[key] = f"no counterpart ({name!r})"


def _learning_rate(flat: Flat, made: Translation) -> None:
    for key in ("optimization.lr", "optimizer.lr"):
        rates = flat.pop(key, None)
        if rates is None:
            continue
        rates = rates if isinstance(rates, list) else [rates]
        if len(rates) == 1:
            made.put("optimizer.lr", rates[0])
        else:
            made.dropped[key] = f"one rate for each epoch ({rates!r}); see lr_scheduler=manual"


def _update_freq(flat: Flat, made: Translation) -> None:
    values = flat.pop("optimization.update_freq", None)
    if values is None:
        return
    values = values if isinstance(values, list) else [values]
    if len(values) == 1:
        made.put("optimization.update_freq", values[0])
    else:
        made.dropped["optimization.update_freq"] = f"one value for each epoch ({values!r})"


def _precision(flat: Flat, made: Translation) -> None:
    for name in ("fp16", "bf16"):
        if flat.pop(f"common.{name}", False):
            made.put("precision.dtype", name)
    if flat.pop("common.cpu", False):
        made.put("device", "cpu")


def _adam(flat: Flat, made: Translation) -> None:
    betas = flat.get("optimizer.adam_betas")
    if isinstance(betas, str):  # fairseq writes a tuple as text
        betas = [float(part) for part in re.findall(r"[\d.]+(?:e-?\d+)?", betas)]
    if betas is not None and len(betas) == 2:
        made.put("optimizer.betas", list(betas))
        del flat["optimizer.adam_betas"]
    if flat.get("optimizer.adam_eps") is not None:
        made.put("optimizer.eps", flat.pop("optimizer.adam_eps"))


def _checkpoints(flat: Flat, made: Translation) -> None:
    patience = flat.pop("checkpoint.patience", None)
    if patience is not None:
        made.put("checkpoint.patience", max(patience, 0))  # fairseq: -1 for none
    metric = flat.pop("checkpoint.best_checkpoint_metric", None)
    if metric is not None:
        made.put("checkpoint.best_metric", f"valid_{metric}")


def _transformer(flat: Flat, made: Translation) -> None:
    """Encoder and decoder have the same widths here."""
    for option, name, words in BOTH_SIDES:
        sides = [f"model.{side}_{option}" for side in ("encoder", "decoder")]
        found = {key: flat.pop(key) for key in sides if flat.get(key) is not None}
        values = list(found.values())
        if values and values[0] != values[-1]:
            made.dropped |= dict.fromkeys(found, f"encoder and decoder differ ({values!r})")
        elif values:
            made.put(f"model.{name}", words[bool(values[0])] if words else values[0])
    shares_all = flat.pop("model.share_all_embeddings", None)
    shares_output = flat.pop("model.share_decoder_input_output_embed", None)
    if shares_all is not None or shares_output is not None:
        sharing = "all" if shares_all else "decoder" if shares_output else "none"
        made.put("model.share_embeddings", sharing)

"""A fairseq checkpoint as a run of ours."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.checkpoint.layout import committed
from seqtrain.data.text.fairseq_data import is_fairseq_folder
from seqtrain.errors import CheckpointError, ConfigError, DataError
from seqtrain.files import ensure_writable_directory, write_atomically
from seqtrain.interop.fairseq_lstm import convert_lstm
from seqtrain.interop.fairseq_transformer import convert_transformer
from seqtrain.interop.fairseq_weights import ConvertedModel
from seqtrain.interop.foreign_checkpoint import ForeignCheckpoint, read_foreign
from seqtrain.tasks.base import TASKS, Task
from seqtrain.training.build import build_model
from seqtrain.training.run_config import RunConfig


@dataclass(frozen=True)
class ImportRequest:
    """What to import, and where to.

    Args:
        checkpoint: fairseq's file.
        data: The folder of fairseq-preprocess that the model was trained on.
        out: The run directory to make.
        is_trusted: The user knows where the checkpoint is from.
        sentencepiece: Model file that cuts raw lines into pieces; empty for lines that are cut.
    """

    checkpoint: Path
    data: Path
    out: Path
    is_trusted: bool
    sentencepiece: str = ""


def import_fairseq(request: ImportRequest) -> Path:
    """Writes a run directory with the model of a fairseq checkpoint and returns the checkpoint.

    It holds what evaluation and search need, and `checkpoint.init_from`; no optimizer state.

    Raises:
        SeqtrainError: Something a user can mend; the message names the file or option.
    """
    if committed(request.out / "checkpoints"):
        raise ConfigError(f"out={request.out} holds checkpoints already: name a new folder.")
    if not is_fairseq_folder(request.data):
        raise DataError(
            f"data={request.data} is no folder of fairseq-preprocess: it must hold dict.*.txt and "
            "a split such as valid.en-de.en.idx."
        )
    foreign = read_foreign(request.checkpoint, request.is_trusted)
    converted = _convert(foreign)
    config = _config(request, foreign.settings, converted)
    task: Task = TASKS.get(config.task.name).cls.load(config.task, config.seed)
    weights = _checked(request, config, task, converted)
    ensure_writable_directory(request.out)
    parts = {"config": config.to_container(), "task": task.state_dict(), "model": weights}
    about = {
        "plugins": [],
        "imported": {"from": str(request.checkpoint), "sha256": _sha256(request.checkpoint)},
    }
    path = write_checkpoint(request.out / "checkpoints", foreign.num_updates, parts, about)
    text = json.dumps(config.to_container(), indent=2)
    write_atomically(request.out / "config.json", text.encode())
    return path


def _convert(foreign: ForeignCheckpoint) -> ConvertedModel:
    tensors, settings = foreign.tensors, foreign.settings
    try:
        if "encoder.lstm.weight_ih_l0" in tensors:
            return convert_lstm(tensors, settings)
        if any(name.startswith("encoder.layers.0.self_attn.") for name in tensors):
            return convert_transformer(tensors, settings)
    except CheckpointError as error:
        raise CheckpointError(f"{foreign.path}: {error}") from error
    name = settings.get("model._name") or settings.get("arch")
    raise CheckpointError(
        f"{foreign.path}: fairseq's model {name!r} is not imported; its Transformer and its LSTM "
        "for translation are."
    )


def _config(
    request: ImportRequest, settings: Mapping[str, Any], converted: ConvertedModel
) -> RunConfig:
    task = {
        "name": "translation",
        "data": str(request.data),
        "source": settings.get("source_lang") or "",
        "target": settings.get("target_lang") or "",
    }
    if request.sentencepiece:
        task["tokenizer"] = "sentencepiece"
        task["tokenizer_options"] = {"model": request.sentencepiece}
    criterion: dict[str, Any] = {"name": "cross_entropy"}
    if settings.get("label_smoothing"):
        smoothing = settings["label_smoothing"]
        criterion = {"name": "label_smoothed_cross_entropy", "label_smoothing": smoothing}
    return RunConfig.parse(
        {
            "run_dir": str(request.out),
            "task": task,
            "model": converted.section,
            "criterion": criterion,
            "optimizer": {"name": "adam"},
            "lr_scheduler": {"name": "inverse_sqrt"},
            "generation": {"fairseq_max_tokens": _max_tokens(settings), "fairseq_ngrams": True},
        }
    )


def _max_tokens(settings: Mapping[str, Any]) -> int:
    """Returns the budget of fairseq's batches, which its length limits depend on; 0 if unknown."""
    value = settings.get("max_tokens_valid") or settings.get("max_tokens")
    return value if isinstance(value, int) and value > 0 else 0


def _checked(
    request: ImportRequest, config: RunConfig, task: Task, converted: ConvertedModel
) -> dict[str, Tensor]:
    """Returns the weights, after a model of ours has taken every one of them."""
    context = task.context
    for side, name, size in (
        ("source", "encoder.embed_tokens.weight", context.source_vocab_size),
        ("target", "decoder.embed_tokens.weight", context.target_vocab_size),
    ):
        num_rows = len(converted.weights[name])
        if num_rows != size:
            raise DataError(
                f"{request.checkpoint} has {num_rows} {side} symbols, the dictionary in "
                f"{request.data} {size}: name the data that the model was trained on."
            )
    model = build_model(config, context)
    try:
        model.load_state_dict(converted.weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{request.checkpoint} does not fit its own options: {reason}") from (
            error
        )
    return model.state_dict()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

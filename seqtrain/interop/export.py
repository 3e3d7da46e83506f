"""A trained model in a form for use elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from seqtrain import __version__
from seqtrain.checkpoint.load import inspect
from seqtrain.errors import ConfigError
from seqtrain.interop.export_ctranslate2 import check_quantization, write_ctranslate2
from seqtrain.interop.export_folder import export_folder, require_free, write_card
from seqtrain.interop.export_huggingface import write_huggingface
from seqtrain.interop.export_onnx import write_onnx
from seqtrain.interop.export_safetensors import write_safetensors
from seqtrain.interop.export_torch import write_torch_export
from seqtrain.option_checks import require_choice
from seqtrain.pipeline import Pipeline, load

FORMATS: dict[str, Callable[[Pipeline, Path], list[str]]] = {
    "safetensors": write_safetensors,
    "huggingface": write_huggingface,
    "torch_export": write_torch_export,
    "onnx": write_onnx,
    "ctranslate2": write_ctranslate2,
}
"""What writes a model into an empty folder, and returns lines that people should read."""


@dataclass(frozen=True)
class ExportRequest:
    """What to export, and where to.

    Args:
        checkpoint: Run directory (its best checkpoint), or one checkpoint.
        format: One of FORMATS.
        out: The folder to make.
        overwrite: Replace a folder that an earlier export made.
        quantization: Kind of weights for ctranslate2; empty for float32.
    """

    checkpoint: Path
    format: str
    out: Path
    overwrite: bool = False
    quantization: str = ""


def export(request: ExportRequest) -> list[str]:
    """Makes the folder and returns lines on how to use it and what it has not.

    Raises:
        SeqtrainError: Something a user can mend; the message names the key.
    """
    writer = _writer(request)
    require_free(request.out, request.overwrite)
    pipeline = load(request.checkpoint, "cpu")
    with export_folder(request.out, request.overwrite) as folder:
        notes = writer(pipeline, folder)
        if request.format != "safetensors":  # its manifest says it
            manifest = inspect(pipeline.path)
            write_card(
                folder,
                {
                    "format": request.format,
                    "seqtrain": __version__,
                    "model": pipeline.config.model.name,
                    "task": pipeline.config.task.name,
                    "checkpoint": pipeline.path.name,
                    "sha256": manifest.sha256,
                },
            )
    return notes


def _writer(request: ExportRequest) -> Callable[[Pipeline, Path], list[str]]:
    require_choice("format", request.format, FORMATS)
    if request.format == "ctranslate2":
        check_quantization(request.quantization)
        return partial(write_ctranslate2, quantization=request.quantization)
    if request.quantization:
        raise ConfigError(
            f"quantization={request.quantization} is for format=ctranslate2; format="
            f"{request.format} keeps float32."
        )
    return FORMATS[request.format]

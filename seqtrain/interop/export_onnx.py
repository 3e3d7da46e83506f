"""Graphs in ONNX, which many programs run."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqtrain.errors import ConfigError, MachineError
from seqtrain.interop.export_graphs import Graph, Named, graphs_of, require_same
from seqtrain.interop.export_torch import traced, write_use
from seqtrain.pipeline import Pipeline


def write_onnx(pipeline: Pipeline, folder: Path) -> list[str]:
    """Writes an .onnx file for each graph, after a comparison by onnxruntime, and tokenizers.

    Raises:
        ConfigError: The model cannot be traced, or does what ONNX cannot.
        MachineError: A package is missing.
    """
    runtime = _runtime()
    graphs = graphs_of(pipeline.model, pipeline.task.context, pipeline.config.model.name)
    for graph in graphs:
        path = folder / f"{graph.name}.onnx"
        _save(graph, path)
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        require_same(graph, partial(_run, session), "onnx")
    return write_use(pipeline, graphs, folder)


def _runtime() -> Any:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 # the exporter imports it, and onnx with it
    except ImportError:
        raise MachineError("format=onnx needs packages: pip install 'seqtrain[onnx]'.") from None
    return onnxruntime


def _save(graph: Graph, path: Path) -> None:
    program = traced(graph, "onnx")
    axes = graph.axes()
    try:
        with torch.no_grad(), _quiet():
            made = torch.onnx.export(
                program,
                dynamo=True,
                input_names=list(axes),
                output_names=graph.outputs,
                dynamic_shapes=tuple(axes.values()),
                verbose=False,
            )
    except Exception as error:  # torch raises many kinds for what ONNX cannot say
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"format=onnx: the {graph.name} of this model does what ONNX cannot say "
            f"({type(error).__name__}: {reason}). Use format=torch_export."
        ) from error
    if made is not None:
        made.save(str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what the exporter says about its own workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _run(session: Any, inputs: Named) -> list[Tensor]:
    given = {name: tensor.numpy() for name, tensor in inputs.items()}
    return [torch.from_numpy(array) for array in session.run(None, given)]

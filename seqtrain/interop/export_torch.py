"""Graphs as programs of torch.export."""

from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from seqtrain.errors import ConfigError, NumericError
from seqtrain.interop.export_folder import write_json
from seqtrain.interop.export_graphs import Graph, describe, graphs_of, require_same
from seqtrain.interop.huggingface_tokenizer import write_tokenizers
from seqtrain.pipeline import Pipeline

GRAPHS = "graphs.json"


def write_torch_export(pipeline: Pipeline, folder: Path) -> list[str]:
    """Writes a .pt2 file for each graph, after a comparison at other sizes, and tokenizers.

    Raises:
        ConfigError: torch.export cannot trace the model.
    """
    graphs = graphs_of(pipeline.model, pipeline.task.context, pipeline.config.model.name)
    for graph in graphs:
        program = traced(graph, "torch_export")
        torch.export.save(program, folder / f"{graph.name}.pt2")
    return write_use(pipeline, graphs, folder)


def write_use(pipeline: Pipeline, graphs: list[Graph], folder: Path) -> list[str]:
    """Writes inputs and outputs of the graphs, and tokenizers; returns what people should know."""
    write_json(folder / GRAPHS, {graph.name: describe(graph) for graph in graphs})
    longest = getattr(pipeline.model, "max_target_positions", 0)
    notes = write_tokenizers(pipeline.task, folder, longest)
    return [f"{GRAPHS} has the inputs and outputs of {', '.join(g.name for g in graphs)}.", *notes]


def traced(graph: Graph, format_name: str) -> ExportedProgram:
    """Returns the program of a graph, compared with it at sizes that it was not traced at.

    Raises:
        ConfigError: It cannot be traced, or works at the traced sizes only.
    """
    example, axes = graph.example(), graph.axes()
    shapes = tuple(dict.fromkeys(axes[name], Dim.AUTO) for name in example)
    try:
        with torch.no_grad():
            program = torch.export.export(
                graph.module, tuple(example.values()), dynamic_shapes={"inputs": shapes}
            )
        run = program.module()
        require_same(graph, lambda inputs: run(*inputs.values()), format_name)
    except NumericError:
        raise
    except Exception as error:  # torch raises many kinds for what it cannot trace
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"format={format_name}: torch.export cannot trace {graph.name!r} for all sizes "
            f"({type(error).__name__}: {reason}). Use format=safetensors."
        ) from error
    return program

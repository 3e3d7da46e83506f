"""What the benchmark of the search gives to other systems: weights by their names, and work."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from seqtrain.models.transformer import TransformerConfig, TransformerModel
from seqtrain.modules.attention import unpack_projections

WORKER = Path(__file__).with_name("generation_fairseq.py")


@dataclass(frozen=True)
class CaseOptions:
    """How to search."""

    beam: int
    sampling: bool = False


def separate_weights(model: TransformerModel, config: TransformerConfig) -> dict[str, Tensor]:
    """Returns the weights with separate projections, by the names that fairseq gives them."""
    weights: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        stem, kind = name.rsplit(".", 1)
        if stem.endswith("qkv_proj"):
            parts = unpack_projections(weight, 3, config.num_heads)
            for part, value in zip("qkv", parts, strict=True):
                weights[f"{stem.replace('qkv_proj', f'{part}_proj')}.{kind}"] = value
        elif "memory_projections" in stem:
            layer = stem.split(".")[2]
            parts = unpack_projections(weight, 2, config.num_heads)
            for part, value in zip("kv", parts, strict=True):
                weights[f"decoder.layers.{layer}.encoder_attn.{part}_proj.{kind}"] = value
        else:
            weights[name] = weight
    return {name: weight.detach().float().contiguous() for name, weight in weights.items()}


class FairseqProcess:
    """fairseq in an interpreter of its own, which is asked through its standard input.

    Args:
        python: Interpreter that has fairseq.
        config: Shape of the model.
        weights: See `separate_weights`.
        folder: For the checkpoint.
        longest: Most symbols of an output.
    """

    def __init__(
        self,
        python: str,
        config: TransformerConfig,
        weights: dict[str, Tensor],
        folder: Path,
        longest: int,
    ) -> None:
        path = folder / "model.pt"
        torch.save({"config": asdict(config), "model": weights, "longest": longest}, path)
        self._process = subprocess.Popen(
            [python, str(WORKER), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: Any) -> None:
        self._process.kill()
        self._process.wait()

    def generate(
        self, batches: Sequence[Tensor], options: CaseOptions
    ) -> tuple[float, list[list[int]]]:
        """Returns the CPU seconds of the search alone, and the best output of each sentence."""
        asked = {"batches": [batch.tolist() for batch in batches], **asdict(options)}
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The process of fairseq has no pipes.")
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"fairseq ended: try {' '.join(map(str, self._process.args))}")
        found = json.loads(answer)
        return found["seconds"], found["outputs"]

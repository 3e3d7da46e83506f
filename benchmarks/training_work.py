"""What the benchmark of training trains: models, batches, and the arithmetic that they cost."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqtrain.data.batching import DatasetConfig
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.text.parallel_preprocess import open_prepared
from seqtrain.data.token_store import TokenStore
from seqtrain.plugins import load_plugins

VOCAB_SIZE = 8000
PADDING, EOS = 1, 2
SHAPE = {"dim": 256, "ffn_dim": 1024, "num_heads": 4}
MODELS: dict[str, dict[str, Any]] = {
    "translation": {"name": "transformer", **SHAPE, "encoder_layers": 3, "decoder_layers": 3},
    "lstm": {"name": "lstm", "dim": 256, "encoder_layers": 2, "decoder_layers": 2},
    "language_model": {"name": "transformer_lm", **SHAPE, "layers": 6},
}
DROPOUT = 0.1
LABEL_SMOOTHING = 0.1
MAX_TOKENS = 4096


@dataclass(frozen=True)
class Work:
    """A model and the batches that every peer trains it on.

    Args:
        name: Key of MODELS.
        batches: Each with `source_tokens` (not for a language model), `prev_output_tokens` and
            `targets`, int64 [batch, time], padded on the right.
    """

    name: str
    batches: list[dict[str, Tensor]]

    def num_tokens(self) -> tuple[int, int]:
        """Returns source and target tokens of all batches, padding left out."""
        sources = [b["source_tokens"] for b in self.batches if "source_tokens" in b]
        targets = [b["targets"] for b in self.batches]
        return _real(sources), _real(targets)

    def flops_per_target(self) -> float:
        """Returns the floating-point operations of matrix products per target token in training.

        Attention scores (about 1%) and padding are left out. The backward pass is twice the
        forward pass. 0 where nobody has counted.
        """
        if self.name == "lstm":
            return 0.0
        model, dim, ffn = MODELS[self.name], SHAPE["dim"], SHAPE["ffn_dim"]
        square, wide = 2.0 * dim * dim, 4.0 * dim * ffn
        output = 2.0 * dim * VOCAB_SIZE
        layers = model["layers" if self.name == "language_model" else "decoder_layers"]
        if self.name == "language_model":
            return 3 * (layers * (4 * square + wide) + output)
        per_source = model["encoder_layers"] * (4 * square + wide) + layers * 2 * square
        per_target = layers * (6 * square + wide) + output
        num_sources, num_targets = self.num_tokens()
        return 3 * (per_target + per_source * num_sources / num_targets)


def make_work(name: str, data: Path | None, num_batches: int) -> Work:
    """Returns batches of a prepared corpus, or of synthetic sentences of similar lengths."""
    iterator = EpochIterator(pairs(data), DatasetConfig(max_tokens=MAX_TOKENS), seed=1)
    batches = []
    for group, _ in zip(iterator.groups(1), range(num_batches), strict=False):
        batch = group.batches[0]
        inputs = dict(batch.inputs)
        if name == "language_model":
            del inputs["source_tokens"]
        batches.append(inputs | {"targets": batch.targets})
    return Work(name, batches)


def pairs(data: Path | None) -> PairDataset:
    """Returns the training pairs of a folder of seqtrain-preprocess, or synthetic ones."""
    if data is not None:
        load_plugins([])  # the folder's tokenizer is one of them
        return PairDataset(*open_prepared(data).stores("train"))
    generator = np.random.default_rng(1)
    lengths = np.clip(generator.lognormal(2.6, 0.33, 29_000), 4, 40).astype(int)
    stores = []
    for _ in range(2):
        ids = [generator.integers(4, VOCAB_SIZE, size) for size in lengths]
        stores.append(TokenStore.from_sequences([x.tolist() for x in ids], VOCAB_SIZE))
    return PairDataset(*stores)


def run_config(data: Path | None, name: str, dtype: str, run_dir: Path) -> Mapping[str, Any]:
    """Returns the config of seqtrain's run of the same work."""
    return {
        "run_dir": str(run_dir),
        "device": "cpu",
        "task": {"name": "translation", "data": str(data or "")},
        "model": {**MODELS[name], "dropout": DROPOUT},
        "criterion": {
            "name": "label_smoothed_cross_entropy",
            "label_smoothing": LABEL_SMOOTHING,
        },
        "optimizer": {"name": "adam", "lr": 1e-3},
        "lr_scheduler": {"name": "inverse_sqrt"},
        "dataset": {"max_tokens": MAX_TOKENS},
        "precision": {"dtype": dtype},
    }


def measure_peak(dtype: str, library: str) -> dict[str, float]:
    """Returns the rate of products of 2048 x 2048 matrices, GFLOP/s, by clock."""
    torch.set_float32_matmul_precision("medium" if library == "onednn" else "highest")
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    a, b = torch.randn(2048, 2048).to(kind), torch.randn(2048, 2048).to(kind)
    out = torch.empty(2048, 2048, dtype=kind)
    for _ in range(2):
        torch.mm(a, b, out=out)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(5):
        torch.mm(a, b, out=out)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    operations = 5 * 2 * 2048**3 / 1e9
    # Processor time is that of all threads together.
    return {"wall": operations / wall, "cpu": operations / cpu * torch.get_num_threads()}


def _real(tokens: list[Tensor]) -> int:
    return sum(int(batch.ne(PADDING).sum()) for batch in tokens)

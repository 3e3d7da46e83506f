"""Speed of training a language model, beside a bare loop of the same model in plain PyTorch.

Run: python benchmarks/language_model.py [ROUNDS]

Both train the model of config/experiment/shakespeare_char.yaml (4 layers, width 128, 4 heads,
learned positions, context 64, batches of 12) on the same batches with AdamW, clipping and a new
learning rate for each update. The bare loop is written as a user would: nn.Linear, nn.LayerNorm,
scaled_dot_product_attention, cross_entropy, a DataLoader-free list of tensors. They take turns of
UPDATES updates in one process, on one thread, so that other load on the machine meets all; each
turn of ours includes loading its batches. The bare loop runs twice: with torch's own choice of the
library of matrix products, and with ours.
"""

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.distributed.collectives import Collectives
from seqtrain.optim.precision import choose_cpu_products
from seqtrain.plugins import load_plugins
from seqtrain.training.build import Run, build_run
from seqtrain.training.run_config import RunConfig

UPDATES = 50
LINES, WIDTH = 4000, 40
DIM, LAYERS, HEADS, CONTEXT, ROWS = 128, 4, 4, 64, 12
PLAIN = "bare"


class BareBlock(nn.Module):
    """A layer as most tutorials write it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(DIM, bias=False) for _ in range(2))
        self.qkv = nn.Linear(DIM, 3 * DIM, bias=False)
        self.out = nn.Linear(DIM, DIM, bias=False)
        self.fc1 = nn.Linear(DIM, 4 * DIM, bias=False)
        self.fc2 = nn.Linear(4 * DIM, DIM, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns [batch, time, dim] of the same."""
        batch, time, _ = x.shape
        parts = self.qkv(self.norm1(x)).split(DIM, dim=2)
        q, k, v = (part.view(batch, time, HEADS, -1).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, DIM))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class BareModel(nn.Module):
    """The same model, in one screen."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.symbols = nn.Embedding(vocab_size, DIM)
        self.positions = nn.Embedding(CONTEXT, DIM)
        self.blocks = nn.Sequential(*(BareBlock() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(DIM, bias=False)
        self.head = nn.Linear(DIM, vocab_size, bias=False)
        self.head.weight = self.symbols.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns logits, [batch, time, vocab]."""
        x = self.symbols(tokens) + self.positions(torch.arange(tokens.size(1)))
        return self.head(self.norm(self.blocks(x)))


def make_run(folder: Path) -> Run:
    """Returns our run on random text of 64 characters."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(48, 112, (LINES, WIDTH), generator=generator).tolist()
    text = folder / "text.txt"
    text.write_text("\n".join("".join(map(chr, line)) for line in codes) + "\n")
    config = {
        "run_dir": str(folder / "run"),
        "device": "cpu",
        "task": {
            "name": "language_modeling",
            "train": [str(text)],
            "valid": [str(text)],
            "tokenizer": "char",
            "documents": "file",
            "tokens_per_sample": CONTEXT,
        },
        "model": {
            "name": "transformer_lm",
            "dim": DIM,
            "layers": LAYERS,
            "num_heads": HEADS,
            "positions": "learned",
            "bias": False,
            "dropout": 0.0,
            "max_positions": CONTEXT,
        },
        "criterion": {"name": "cross_entropy"},
        "optimizer": {"name": "adamw", "lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0.1},
        "lr_scheduler": {"name": "cosine", "warmup_updates": 100, "min_lr": 1e-4},
        "dataset": {"max_tokens": 0, "batch_size": ROWS},
        "optimization": {"max_update": 2000},
    }
    load_plugins([])
    return build_run(RunConfig.parse(config), Collectives(), torch.device("cpu"))


def our_turn(run: Run) -> Callable[[], None]:
    """Returns what trains our run by UPDATES updates."""

    def results() -> Iterator[object]:
        while True:
            yield from run.trainer.train_epoch(run.iterator)

    stream = results()

    def turn() -> None:
        for _ in islice(stream, UPDATES):
            pass

    return turn


def bare_turn(batches: list[tuple[Tensor, Tensor]], vocab_size: int) -> Callable[[], None]:
    """Returns what trains the bare model by UPDATES updates."""
    model = BareModel(vocab_size)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True
    )
    num_updates = 0

    def turn() -> None:
        nonlocal num_updates
        for tokens, targets in batches:
            num_updates += 1
            lr = 1e-4 + 9e-4 * 0.5 * (1 + math.cos(math.pi * min(num_updates / 2000, 1.0)))
            for group in optimizer.param_groups:
                group["lr"] = lr
            logits = model(tokens)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return turn


def seconds(turn: Callable[[], None], is_plain: bool, run: Run) -> float:
    """Returns the processor time of a turn, plain ones with torch's own matrix products."""
    if is_plain:
        torch.set_float32_matmul_precision("highest")
    else:
        choose_cpu_products(run.config.precision)
    began = time.process_time()
    turn()
    return time.process_time() - began


def main() -> None:
    """Prints the updates per second of both, and their ratio, round by round."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder))
        groups = islice(run.iterator.groups(1), UPDATES)
        batches = [
            (group.batches[0].inputs["prev_output_tokens"], group.batches[0].targets)
            for group in groups
        ]
        vocab_size = run.task.context.target_vocab_size
        turns = {
            "ours": our_turn(run),
            PLAIN: bare_turn(batches, vocab_size),
            "bare, our products": bare_turn(batches, vocab_size),
        }
        found: dict[str, list[float]] = {name: [] for name in turns}
        for index in range(rounds + 1):
            for name in list(turns)[:: 1 if index % 2 else -1]:
                found[name].append(UPDATES / seconds(turns[name], name == PLAIN, run))
        products = choose_cpu_products(run.config.precision)
        print(f"torch {torch.__version__}, 1 thread; our float32 products by {products}")
        report({name: values[1:] for name, values in found.items()})  # the first warms up


def report(rates: dict[str, list[float]]) -> None:
    """Prints medians, and the ratio of ours to each other one over the rounds."""
    for name, values in rates.items():
        line = f"{name}: {statistics.median(values):.1f} updates per CPU second (median)"
        ratios = [ours / other for ours, other in zip(rates["ours"], values, strict=True)]
        if name != "ours":
            middle = statistics.median(ratios)
            line += f"; ours / this: {middle:.3f} [{min(ratios):.3f} .. {max(ratios):.3f}]"
        print(line)


if __name__ == "__main__":
    main()

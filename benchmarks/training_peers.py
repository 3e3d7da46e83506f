"""The peers of the benchmark of training: each trains the same batches, update by update."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from training_work import DROPOUT, EOS, LABEL_SMOOTHING, MODELS, PADDING, VOCAB_SIZE, Work
from training_work import run_config as work_config

from seqtrain.batch import Batch
from seqtrain.distributed.collectives import Collectives
from seqtrain.models.base import ModelContext
from seqtrain.modules.positions import marian_table
from seqtrain.optim.precision import choose_cpu_products, keep_few_products
from seqtrain.plugins import load_plugins
from seqtrain.training.build import build_trainer
from seqtrain.training.freed_memory import keep_freed_memory
from seqtrain.training.profiling import Profile, ProfileConfig
from seqtrain.training.run_config import RunConfig
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import StepResult
from seqtrain.training.update_tracker import UpdateTracker

BROKEN_DOWN = 8
"""Updates that the breakdown is about."""
Updates = Iterator[int]
"""Performs one update at each step and gives its number of targets."""


def seqtrain(work: Work, dtype: str, extras: dict[str, Any]) -> Updates:
    """The Trainer, as the train loop drives it; the last turn is broken down by parts."""
    load_plugins([])
    config = RunConfig.parse(work_config(None, work.name, dtype, Path("unused")))
    keep_few_products()
    extras["products"] = choose_cpu_products(config.precision)
    keep_freed_memory()  # as the session does
    context = ModelContext(
        source_vocab_size=VOCAB_SIZE,
        target_vocab_size=VOCAB_SIZE,
        shared_vocab=True,
        padding_index=PADDING,
        eos_index=EOS,
    )
    trainer = build_trainer(config, context, torch.device("cpu"), Collectives())
    trainer.loss_module.train()
    tracker, batches = UpdateTracker(1.0), [as_batch(batch) for batch in work.batches]

    def update(batch: Batch) -> StepResult:
        trainer.beat("data")
        result = trainer.train_step([batch])
        tracker.add(result)
        return result

    extras["breakdown"] = lambda: _breakdown(trainer, update, batches[:BROKEN_DOWN])
    for batch in _round_and_round(batches):
        update(batch)
        yield batch.num_targets


def _breakdown(
    trainer: Trainer, update: Callable[[Batch], StepResult], batches: list[Batch]
) -> dict[str, Any]:
    class Waits:
        wait_seconds = 0.0  # the batches are there

    config = ProfileConfig(warmup_updates=0, timed_updates=len(batches), traced_updates=0)
    with tempfile.TemporaryDirectory() as folder:
        profile = Profile(config, Path(folder), Waits())  # type: ignore[arg-type] # all it reads
        for batch in batches:
            profile.on_update_start(trainer, trainer.num_updates)
            profile.on_update_end(trainer, update(batch))
        profile.on_train_end(trainer)
    return {} if profile.breakdown is None else profile.breakdown.to_json()


def as_batch(tensors: dict[str, Tensor]) -> Batch:
    """Returns the tensors as seqtrain's batch."""
    inputs = {name: tensor for name, tensor in tensors.items() if name != "targets"}
    num_targets = int(tensors["targets"].ne(PADDING).sum())
    return Batch(
        inputs=inputs,
        targets=tensors["targets"],
        ids=torch.arange(len(tensors["targets"])),
        num_targets=num_targets,
        num_tokens=num_targets,
        num_positions=tensors["targets"].numel(),
    )


class BareTransformer(nn.Module):
    """nn.Transformer with embeddings, as in many scripts."""

    def __init__(self) -> None:
        super().__init__()
        model = MODELS["translation"]
        self.embedding = nn.Embedding(VOCAB_SIZE, model["dim"], PADDING)
        nn.init.normal_(self.embedding.weight, std=model["dim"] ** -0.5)
        self.register_buffer("positions", marian_table(1024, model["dim"]))
        self.dropout = nn.Dropout(DROPOUT)
        self.transformer = nn.Transformer(
            model["dim"],
            model["num_heads"],
            model["encoder_layers"],
            model["decoder_layers"],
            model["ffn_dim"],
            DROPOUT,
            batch_first=True,
        )

    def embed(self, tokens: Tensor) -> Tensor:
        """Returns [batch, time, dim]."""
        scale = self.embedding.embedding_dim**0.5
        return self.dropout(self.embedding(tokens) * scale + self.positions[: tokens.size(1)])

    def forward(self, source_tokens: Tensor, prev_output_tokens: Tensor) -> Tensor:
        """Returns logits, [batch, time, vocab]."""
        mask = source_tokens == PADDING
        features = self.transformer(
            self.embed(source_tokens),
            self.embed(prev_output_tokens),
            tgt_mask=causal_mask(prev_output_tokens.size(1)),
            src_key_padding_mask=mask,
            tgt_key_padding_mask=prev_output_tokens == PADDING,
            memory_key_padding_mask=mask,
            tgt_is_causal=True,
        )
        return F.linear(features, self.embedding.weight)


class BareLanguageModel(BareTransformer):
    """nn.TransformerEncoder with a causal mask."""

    def __init__(self) -> None:
        super().__init__()
        model = MODELS["language_model"]
        layer = nn.TransformerEncoderLayer(
            model["dim"], model["num_heads"], model["ffn_dim"], DROPOUT, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, model["layers"], enable_nested_tensor=False)

    def forward(self, prev_output_tokens: Tensor) -> Tensor:  # type: ignore[override] # no source
        """Returns logits, [batch, time, vocab]."""
        mask = causal_mask(prev_output_tokens.size(1))
        features = self.transformer(self.embed(prev_output_tokens), mask=mask, is_causal=True)
        return F.linear(features, self.embedding.weight)


class BareLSTM(nn.Module):
    """nn.LSTM encoder and decoder with attention to the encoder."""

    def __init__(self) -> None:
        super().__init__()
        dim, layers = MODELS["lstm"]["dim"], MODELS["lstm"]["encoder_layers"]
        self.embedding = nn.Embedding(VOCAB_SIZE, dim, PADDING)
        self.encoder = nn.LSTM(
            dim, dim // 2, layers, batch_first=True, bidirectional=True, dropout=DROPOUT
        )
        self.decoder = nn.LSTM(dim, dim, layers, batch_first=True, dropout=DROPOUT)
        self.keys, self.combine = nn.Linear(dim, dim, bias=False), nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, source_tokens: Tensor, prev_output_tokens: Tensor) -> Tensor:
        """Returns logits, [batch, time, vocab]."""
        mask = source_tokens == PADDING
        lengths = (~mask).sum(dim=1)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.dropout(self.embedding(source_tokens)),
            lengths,
            batch_first=True,
            enforce_sorted=False,
        )
        encoded, _ = self.encoder(packed)
        encoded, _ = nn.utils.rnn.pad_packed_sequence(
            encoded, batch_first=True, total_length=source_tokens.size(1)
        )
        x, _ = self.decoder(self.dropout(self.embedding(prev_output_tokens)))
        scores = x @ self.keys(encoded).transpose(1, 2)
        weights = scores.masked_fill(mask[:, None], float("-inf")).softmax(dim=-1)
        mixed = torch.tanh(self.combine(torch.cat([weights @ encoded, x], dim=2)))
        return F.linear(self.dropout(mixed), self.embedding.weight)


def bare(work: Work, dtype: str, extras: dict[str, Any]) -> Updates:
    """A loop of torch alone: forward, loss, backward, clipping, Adam."""
    torch.manual_seed(1)
    model = {
        "translation": BareTransformer,
        "lstm": BareLSTM,
        "language_model": BareLanguageModel,
    }[work.name]().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
    for batch in _round_and_round(work.batches):
        targets = batch["targets"]
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            logits = model(**{k: v for k, v in batch.items() if k != "targets"})
            loss = F.cross_entropy(
                logits.flatten(0, 1),
                targets.flatten(),
                ignore_index=PADDING,
                label_smoothing=LABEL_SMOOTHING,
            )
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield int(targets.ne(PADDING).sum())


def bare_onednn(work: Work, dtype: str, extras: dict[str, Any]) -> Updates:
    """The bare loop with the setting of torch that sends float32 products to oneDNN."""
    torch.set_float32_matmul_precision("medium")
    return bare(work, dtype, extras)


def causal_mask(length: int) -> Tensor:
    """Returns True where a position must not be seen, [length, length]."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def _round_and_round(batches: list[Any]) -> Iterator[Any]:
    while True:
        yield from batches


PEERS: dict[str, Callable[[Work, str, dict[str, Any]], Updates]] = {
    "seqtrain": seqtrain,
    "bare": bare,
    "bare_onednn": bare_onednn,
}

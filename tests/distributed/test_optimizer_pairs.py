from pathlib import Path
from types import MappingProxyType
from typing import Any

from processes import run_in_processes
from strategy_runs import Sections, build, train
from torch import Tensor, nn
from toy_run import write_toy_text

from seqtrain.distributed.collectives import Collectives
from seqtrain.errors import ConfigError
from seqtrain.models.base import MODELS, Model, ModelConfig, ModelContext, ModelOutput
from seqtrain.optim.base import OPTIMIZERS
from seqtrain.plugins import import_built_ins

import_built_ins()

STRATEGIES: dict[str, Sections] = {
    "ddp": {"distributed": {"strategy": "ddp"}},
    "zero": {"distributed": {"shard_optimizer": True}},
    "fsdp": {"distributed": {"strategy": "fsdp"}},
    "tensor": {"distributed": {"tensor_parallel": 2}},
}
PARTS, ONE_STEP = "needs whole parameters", "does not update each parameter by itself"
REFUSED: dict[tuple[str, str], str] = {
    **{(name, "fsdp"): PARTS for name in ("adafactor", "lamb", "muon", "lbfgs", "sparse_adam")},
    **{(name, "tensor"): PARTS for name in ("adafactor", "lamb", "muon", "lbfgs")},
    ("lbfgs", "zero"): ONE_STEP,
    ("schedule_free_adamw", "zero"): ONE_STEP,
    ("sparse_adam", "tensor"): "does not say how its layers are divided",
}
"""What is refused at the start, and a word of the reason; all other pairs train."""
MEMBERS = [{"pattern": "*embed*", "name": "sgd"}, {"pattern": "*", "name": "adamw"}]


class SparseModel(Model):
    """An embedding with sparse gradients, and a linear layer."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, 8, sparse=True)
        self.output = nn.Linear(8, vocab_size)

    @classmethod
    def from_config(cls, config: Any, context: ModelContext) -> "SparseModel":
        return cls(context.target_vocab_size)

    def forward(self, source_tokens: Tensor, prev_output_tokens: Tensor) -> ModelOutput:  # type: ignore[override] # names the inputs
        return ModelOutput(self.embed_tokens(prev_output_tokens), self.output)


def sections(optimizer: str, strategy: str) -> Sections:
    settings: dict[str, Any] = {"name": optimizer}
    if optimizer == "composite":
        settings["members"] = MEMBERS
    chosen: dict[str, Any] = {"optimizer": settings} | STRATEGIES[strategy]
    if optimizer == "sparse_adam":  # in the place of the usual model, not merged into it
        chosen["model"] = MappingProxyType({"name": "test_sparse"})
    return chosen


def walk(collectives: Collectives, text: Path) -> dict[tuple[str, str], str]:
    """Trains two updates with each pair; returns the first line of what was refused."""
    MODELS.register("test_sparse", config=ModelConfig)(SparseModel)
    found = {}
    for optimizer in OPTIMIZERS.names():
        for strategy in STRATEGIES:
            try:
                run = build(collectives, text, sections(optimizer, strategy))
            except ConfigError as error:
                found[optimizer, strategy] = str(error)
                continue
            train(run, 2)
            run.trainer.check_agreement()
            found[optimizer, strategy] = ""
    return found


def test_each_optimizer_trains_under_each_strategy_or_is_refused_at_the_start(
    tmp_path: Path,
) -> None:
    text = write_toy_text(tmp_path / "text", num_train=12)
    first, second = run_in_processes(walk, 2, text, timeout_seconds=300.0)
    assert first == second
    assert len(first) == len(STRATEGIES) * len(OPTIMIZERS.names())
    for pair, said in first.items():
        reason = REFUSED.get(pair, "")
        assert bool(said) == bool(reason), f"{pair}: {said or 'trained'}"
        assert reason in said

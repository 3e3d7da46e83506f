"""What every model and every criterion must bear: batches without targets, parameters without use.

A new built-in model or criterion fails the first test until it has a case here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from distributed.processes import run_in_processes
from numerics.classifier_cases import CLASSIFIERS
from numerics.segmenter_cases import SEGMENTERS
from numerics.series_cases import SERIES
from torch import Tensor, nn

from seqtrain.batch import Batch
from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.criteria.base import CRITERIA
from seqtrain.distributed.collectives import Collectives
from seqtrain.lr_schedulers.fixed import Fixed, FixedConfig
from seqtrain.models.base import MODELS, Model, ModelContext, ModelOutput
from seqtrain.optim.adam import Adam, AdamConfig
from seqtrain.optim.precision import Precision, PrecisionConfig
from seqtrain.plugins import import_built_ins
from seqtrain.registry import Registry
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import UpdateSettings

import_built_ins()

CPU = torch.device("cpu")
NO_IDS = torch.zeros(0, dtype=torch.int64)
SYMBOLS = ModelContext(source_vocab_size=20, target_vocab_size=20, shared_vocab=True)
CLASSES = ModelContext(target_vocab_size=3, num_classes=3, padding_index=-1)
TEACHER = {"name": "lstm", "dim": 8}
TASK = {"symbols": ["a"]}
Batches = dict[str, Batch]


def translation_batches() -> Batches:
    def batch(sources: list[list[int]], targets: list[list[int]], num_targets: int) -> Batch:
        shifted = [[2, *row[:-1]] for row in targets]
        return Batch(
            inputs={
                "source_tokens": torch.tensor(sources),
                "prev_output_tokens": torch.tensor(shifted),
            },
            targets=torch.tensor(targets),
            ids=torch.arange(len(sources)) if num_targets else NO_IDS,
            num_targets=num_targets,
        )

    return {
        "two rows": batch([[5, 6, 2], [7, 2, 1]], [[9, 8, 7, 2], [6, 2, 1, 1]], 6),
        "one row": batch([[4, 2]], [[12, 2]], 2),
        "empty": batch([[2]], [[1]], 0),
    }


def one_sided_batches(name: str) -> Batches:
    """The targets above, and what is before each as the only input."""
    return {
        key: replace(batch, inputs={name: batch.inputs["prev_output_tokens"]})
        for key, batch in translation_batches().items()
    }


class Grid(Model):
    """Four positions of two numbers each, with the heads that segmentation asks for."""

    def __init__(self, width: int, arrange: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.main, self.auxiliary = nn.Linear(2, width), nn.Linear(2, 3)
        self.presence = nn.Linear(8, 3)
        self.arrange = arrange

    @classmethod
    def from_config(cls, config: Any, context: ModelContext) -> "Grid":
        raise NotImplementedError

    def forward(self, x: Tensor) -> ModelOutput:  # type: ignore[override] # names the inputs
        aux = {
            "auxiliary_logits": self.auxiliary(x),
            "presence_logits": self.presence(x.flatten(1)),
        }
        return ModelOutput(x, lambda features: self.arrange(self.main(features)), aux)


def grid_batches(targets: Tensor, padding: float) -> Batches:
    x = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))

    def batch(rows: slice) -> Batch:
        is_target = targets[rows].ne(padding) & targets[rows].eq(targets[rows])
        num_rows = len(targets[rows])
        return Batch(
            inputs={"x": x[rows]},
            targets=targets[rows],
            ids=torch.arange(num_rows),
            num_targets=int(is_target.sum()),
        )

    empty = Batch(
        inputs={"x": x[:1]}, targets=torch.full_like(targets[:1], padding), ids=NO_IDS,
        num_targets=0,
    )  # fmt: skip
    return {"two rows": batch(slice(2)), "one row": batch(slice(2, 3)), "empty": empty}


GRID_CLASSES = torch.tensor([[0, 2, -1, 1], [1, 1, -1, -1], [2, 2, 2, -1]])
GRID_VALUES = torch.tensor(
    [[0.5, 2.0, torch.nan, 1.0], [1.0, 1.0, -1.0, 0.0], [2.0, 1.0, 0.0, 0.0]]
)
SHORT = torch.tensor([[2, 1], [1, -1], [2, -1]])


@dataclass(frozen=True)
class Case:
    """A model and a criterion that fit."""

    model: str
    criterion: str
    model_fields: dict[str, Any] = field(default_factory=dict)
    criterion_fields: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.model}{''.join(self.model_fields)}-{self.criterion}"

    @property
    def context(self) -> ModelContext:
        return SYMBOLS if self.model in MODEL_FIELDS else CLASSES

    def batches(self) -> Batches:
        if self.model in ONE_SIDED:
            return one_sided_batches(ONE_SIDED[self.model])
        return translation_batches() if self.model in MODEL_FIELDS else GRIDS[self.model][1]()

    def build_model(self) -> Model:
        if self.model not in MODEL_FIELDS:
            return GRIDS[self.model][0]()
        section = {"name": self.model} | MODEL_FIELDS[self.model] | self.model_fields
        return MODELS.get(self.model).cls.from_config(MODELS.parse(section), self.context)


MODEL_FIELDS: dict[str, dict[str, Any]] = {
    "transformer": {"dim": 8, "ffn_dim": 8, "num_heads": 2, "decoder_layers": 2},
    "lstm": {"dim": 8},
    "lstm_input_feeding": {
        "encoder_dim": 8,
        "encoder_hidden_dim": 6,
        "bidirectional": True,
        "decoder_dim": 8,
        "decoder_hidden_dim": 10,
        "output_dim": 8,
        "num_layers": 2,
    },
    "transformer_lm": {"dim": 8, "num_heads": 2, "layers": 2},
    "transformer_encoder": {"dim": 8, "num_heads": 2, "layers": 2},
    "lstm_lm": {"dim": 8},
}
"""Every built-in model; those here read `translation_batches`."""

ONE_SIDED = {
    "transformer_lm": "prev_output_tokens",
    "lstm_lm": "prev_output_tokens",
    "transformer_encoder": "source_tokens",
}
"""Models that read one sequence as long as the targets, and the name of that input."""

GRIDS: dict[str, tuple[Callable[[], Model], Callable[[], Batches]]] = {
    "grid of classes": (lambda: Grid(3, lambda y: y), lambda: grid_batches(GRID_CLASSES, -1)),
    "grid of values": (
        lambda: Grid(1, lambda y: y.squeeze(2)),
        lambda: grid_batches(GRID_VALUES, torch.nan),
    ),
    "dense grid": (
        lambda: Grid(3, lambda y: y),
        lambda: grid_batches(GRID_CLASSES, -1),
    ),
    "short targets": (lambda: Grid(3, lambda y: y), lambda: grid_batches(SHORT, -1)),
    **SERIES,
    **SEGMENTERS,
    **CLASSIFIERS,
}

SYMBOL_CRITERIA: dict[str, dict[str, Any]] = {
    "cross_entropy": {},
    "label_smoothed_cross_entropy": {"report_accuracy": True},
    "masked_lm": {},
    "soft_cross_entropy": {"label_smoothing": 0.1},
    "adaptive_softmax": {"dim": 8, "cutoffs": [8, 12, 19]},
    "r_drop": {},
    "knowledge_distillation": {"teacher": "TEACHER"},
    "composite": {"members": [{"name": "cross_entropy"}, {"name": "ctc", "weight": 0.5}]},
}
GRID_CASES = [
    Case("grid of classes", "soft_cross_entropy"),
    Case("grid of values", "regression"),
    Case("grid of values", "regression", {}, {"horizon_curriculum_updates": 6}),
    Case("short targets", "ctc"),
    *(Case(name, "regression") for name in SERIES),
    *(Case(name, "soft_cross_entropy") for name in CLASSIFIERS),
    Case("dense grid", "segmentation"),
    Case("dense grid", "segmentation", {}, {"auxiliary_weight": 0.2, "presence_weight": 0.2}),
    *(
        Case(name, "segmentation", {}, {"auxiliary_weight": 0.2, "presence_weight": 0.2})
        for name in SEGMENTERS
    ),
]
CASES = [
    *(
        Case(m, c, {}, fields)
        for m in MODEL_FIELDS
        for c, fields in SYMBOL_CRITERIA.items()
        # The teacher is a model with a source.
        if m not in ONE_SIDED or c != "knowledge_distillation"
    ),
    Case("transformer_lm", "cross_entropy", {"layer_drop": 0.5, "checkpoint_activations": True}),
    Case("transformer", "cross_entropy", {"layer_drop": 0.5}),
    Case("transformer", "cross_entropy", {"layer_drop": 0.5, "checkpoint_activations": True}),
    *GRID_CASES,
]


class PartlyUsed(Model):
    """A model with parameters that no batch uses, and others that only some use."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.never, self.with_two_rows = nn.Linear(3, 3), nn.Linear(1, 1)

    @classmethod
    def from_config(cls, config: Any, context: ModelContext) -> "PartlyUsed":
        raise NotImplementedError

    def forward(self, **inputs: Tensor) -> ModelOutput:
        output: ModelOutput = self.model(**inputs)
        if len(output.features) < 2:
            return output
        features = output.features * (1.0 + self.with_two_rows.weight.sum())
        return ModelOutput(features, output.output_layer, output.aux)


def make_trainer(case: Case, teacher: str, collectives: Collectives) -> Trainer:
    torch.manual_seed(0)
    model = PartlyUsed(case.build_model())
    fields = {k: teacher if v == "TEACHER" else v for k, v in case.criterion_fields.items()}
    section = CRITERIA.parse({"name": case.criterion, **fields})
    criterion = CRITERIA.get(case.criterion).cls(section, case.context)
    criterion.prepare_training(TASK, CPU)
    parameters = [*model.named_parameters(), *criterion.named_parameters(prefix="criterion")]
    return Trainer(
        model=model,
        criterion=criterion,
        optimizer=Adam(AdamConfig(), parameters),
        lr_scheduler=Fixed(FixedConfig(), peak_lr=0.1),
        precision=Precision(PrecisionConfig(), CPU),
        settings=UpdateSettings(seed=1),
        device=CPU,
        collectives=collectives,
    )


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    found = {}
    for name, parameter in trainer.optimizer.parameters.items():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), f"{name} has a gradient that is not finite"
        found[name] = parameter.grad.detach().clone()
    return found


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    model = MODELS.get("lstm").cls.from_config(MODELS.parse(TEACHER), SYMBOLS)
    parts = {"config": {"model": TEACHER}, "task": TASK, "model": model.state_dict()}
    return str(write_checkpoint(tmp_path_factory.mktemp("teacher"), 1, parts, {}))


def built_in(registry: Registry[Any]) -> set[str]:
    names = registry.names()
    return {n for n in names if registry.get(n).cls.__module__.startswith("seqtrain.")}


def test_every_built_in_model_and_criterion_has_a_case_here() -> None:
    assert built_in(MODELS) <= set(MODEL_FIELDS) | set(GRIDS)
    assert built_in(CRITERIA) == {case.criterion for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_empty_batch_gives_zero_gradients_and_the_same_metrics(case: Case, teacher: str) -> None:
    trainer = make_trainer(case, teacher, Collectives())
    batches = case.batches()
    expected, totals = trainer.compute_gradients([batches["two rows"]])
    assert totals[0] > 0
    assert any(gradient.any() for gradient in gradients(trainer).values())
    metrics, totals = trainer.compute_gradients([batches["empty"]])
    assert totals[0] == 0
    assert totals[4] == 0
    assert list(metrics) == list(expected)
    assert not any(gradient.any() for gradient in gradients(trainer).values())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_parameters_without_use_have_gradients_of_zero(case: Case, teacher: str) -> None:
    trainer = make_trainer(case, teacher, Collectives())
    trainer.compute_gradients([case.batches()["one row"]])
    found = gradients(trainer)
    for name in ("never.weight", "never.bias", "with_two_rows.weight"):
        assert not found[name].any()
    assert trainer.train_step([case.batches()["one row"]]).applied


STEPS = [
    (["two rows"], ["empty"]),
    (["one row"], ["two rows"]),
    (["empty"], ["empty"]),
    (["two rows", "one row"], ["one row", "empty"]),
    (["one row", "empty"], ["two rows", "empty"]),
]
"""Micro-batches of the first and of the second rank."""


def run_steps(collectives: Collectives, teacher: str) -> list[Any]:
    """Runs every step of every case; alone, with the micro-batches of both ranks."""
    results: list[Any] = []
    for case in CASES:
        trainer, batches = make_trainer(case, teacher, collectives), case.batches()
        for step in STEPS:
            is_alone = collectives.world_size == 1
            names = [*step[0], *step[1]] if is_alone else step[collectives.rank]
            first_index = collectives.rank * len(names)
            metrics, totals = trainer.compute_gradients([batches[n] for n in names], first_index)
            values = {name: g.tolist() for name, g in gradients(trainer).items()}
            results.append((str(case), values, metrics.compute(), totals.tolist()))
    return results


def test_two_processes_do_what_one_does_whatever_each_leaves_unused(teacher: str) -> None:
    first, second = run_in_processes(run_steps, 2, teacher)
    for one, other, alone in zip(first, second, run_steps(Collectives(), teacher), strict=True):
        case = one[0]

        def say(text: str, case: str = case) -> str:
            return f"{case}: {text}"

        torch.testing.assert_close(one[1:], other[1:], rtol=0, atol=0, equal_nan=True, msg=say)
        # Metrics and the loss pass through float32 sums in another order.
        torch.testing.assert_close(
            one[1:], alone[1:], rtol=1e-4, atol=1e-6, equal_nan=True, msg=say
        )

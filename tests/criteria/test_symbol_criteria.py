"""Cross entropy, plain and smoothed, with real models and batches."""

from typing import Any

import pytest
import torch
from given_output import batch_of, build, check_gradients, loss_of, random
from torch import Tensor, nn

from seqtrain.batch import Batch
from seqtrain.criteria.base import CRITERIA, Criterion, LossOutput
from seqtrain.criteria.cross_entropy import CrossEntropy
from seqtrain.criteria.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropy,
    LabelSmoothedCrossEntropyConfig,
)
from seqtrain.errors import ConfigError
from seqtrain.models.base import MODELS, Model, ModelContext, ModelOutput
from seqtrain.models.lstm import LSTMModel
from seqtrain.models.transformer import TransformerModel

CONTEXT = ModelContext(source_vocab_size=20, target_vocab_size=20, shared_vocab=True)
MODEL_CLASSES = {"transformer": TransformerModel, "lstm": LSTMModel}
CRITERION_CLASSES = {
    "cross_entropy": CrossEntropy,
    "label_smoothed_cross_entropy": LabelSmoothedCrossEntropy,
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _model(name: str = "transformer") -> Model:
    config = MODELS.parse({"name": name, "dim": 8, "dropout": 0.0})
    return MODEL_CLASSES[name].from_config(config, CONTEXT).double()


def _criterion(name: str = "label_smoothed_cross_entropy", **fields: Any) -> Criterion:
    return CRITERION_CLASSES[name](CRITERIA.parse({"name": name, **fields}), CONTEXT)


def _batch(sources: list[list[int]], targets: list[list[int]]) -> Batch:
    def pad(rows: list[list[int]]) -> Tensor:
        longest = max(map(len, rows))
        return torch.tensor([row + [1] * (longest - len(row)) for row in rows])

    return Batch(
        inputs={
            "source_tokens": pad(sources),
            "prev_output_tokens": pad([[2, *row[:-1]] for row in targets]),
        },
        targets=pad(targets),
        ids=torch.arange(len(sources)),
        num_targets=sum(map(len, targets)),
    )


SOURCES = [[5, 6, 7, 2], [9, 2], [4, 4, 4, 4, 4, 2], [3, 8, 2]]
TARGETS = [[7, 6, 2], [9, 9, 9, 9, 2], [2], [8, 3, 3, 2]]


def _empty_batch() -> Batch:
    tokens = torch.tensor([[2]])
    return Batch(
        inputs={"source_tokens": tokens, "prev_output_tokens": tokens},
        targets=torch.tensor([[1]]),
        ids=torch.zeros(0, dtype=torch.int64),
        num_targets=0,
    )


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} takes no part"
        found[name] = parameter.grad.clone()
    model.zero_grad()
    return found


@pytest.mark.parametrize("model_name", MODEL_CLASSES)
@pytest.mark.parametrize("name", CRITERION_CLASSES)
def test_an_empty_batch_gives_zero_gradients_to_every_parameter(model_name: str, name: str) -> None:
    model, criterion = _model(model_name), _criterion(name, report_accuracy=True)
    loss = criterion(model, _empty_batch())
    loss.total.backward()
    assert loss.total == 0
    assert loss.num_targets == 0
    assert set(loss.metrics) == {"loss", "nll_loss", "ppl", "accuracy"}
    assert all(not gradient.any() for gradient in _gradients(model).values())


@pytest.mark.parametrize("model_name", MODEL_CLASSES)
def test_splitting_a_batch_changes_nothing(model_name: str) -> None:
    model, criterion = _model(model_name), _criterion()
    whole: LossOutput = criterion(model, _batch(SOURCES, TARGETS))
    whole.total.backward()
    expected = _gradients(model)
    parts = [criterion(model, _batch(SOURCES[i : i + 2], TARGETS[i : i + 2])) for i in (0, 2)]
    for part in parts:
        part.total.backward()
    total = parts[0].total + parts[1].total
    torch.testing.assert_close(total, whole.total, rtol=0, atol=1e-12)
    for name, gradient in _gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-12)
    parts[0].metrics.merge(parts[1].metrics)
    assert parts[0].metrics.compute() == pytest.approx(whole.metrics.compute(), rel=1e-12)


def test_label_smoothing_is_the_formula_over_real_targets() -> None:
    model, criterion = _model(), _criterion(label_smoothing=0.2)
    batch = _batch(SOURCES, TARGETS)
    log_probs = model(**batch.inputs).logits.log_softmax(dim=-1)
    expected = nll = 0.0
    for row, targets in enumerate(TARGETS):
        for position, target in enumerate(targets):
            here = log_probs[row, position].tolist()
            nll -= here[target]
            expected -= 0.8 * here[target] + 0.2 / 19 * (sum(here) - here[target])
    loss = criterion(model, batch)
    assert loss.total.item() == pytest.approx(expected, rel=1e-12)
    assert loss.metrics["nll_loss"].compute() == pytest.approx(nll / 13, rel=1e-12)
    assert loss.num_targets == 13


@pytest.mark.parametrize("name", CRITERION_CLASSES)
def test_its_gradient_is_right(name: str) -> None:
    targets = torch.tensor([[3, 2, 1], [2, 1, 1]])
    criterion = build(name, CONTEXT)
    check_gradients(
        lambda logits: loss_of(criterion, batch_of(targets, 3), logits).total, random(2, 3, 20)
    )


def test_without_smoothing_both_criteria_agree() -> None:
    model, batch = _model(), _batch(SOURCES, TARGETS)
    smoothed = _criterion(label_smoothing=0.0)(model, batch)
    plain = _criterion("cross_entropy")(model, batch)
    assert smoothed.total.item() == plain.total.item()
    assert "accuracy" not in plain.metrics


def test_accuracy_is_the_percentage_of_best_guesses() -> None:
    model, batch = _model(), _batch(SOURCES, TARGETS)
    guesses = model(**batch.inputs).logits.argmax(dim=-1)
    right = (guesses.eq(batch.targets) & batch.targets.ne(1)).sum().item()
    loss = _criterion(report_accuracy=True)(model, batch)
    assert loss.metrics["accuracy"].compute() == pytest.approx(100 * right / 13)


class _WithOpaqueOutput(nn.Module):
    """The same model, with an output layer that the loss cannot look into."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> ModelOutput:
        output = self.model(**inputs)
        return ModelOutput(output.features, lambda features: output.output_layer(features))


def test_the_plain_path_gives_the_same_loss_and_gradients() -> None:
    model, criterion = _model(), _criterion(report_accuracy=True)
    batch = _batch(SOURCES, TARGETS)
    fused = criterion(model, batch)
    fused.total.backward()
    expected = _gradients(model)
    plain = criterion(_WithOpaqueOutput(model), batch)
    plain.total.backward()
    torch.testing.assert_close(plain.total, fused.total, rtol=0, atol=1e-12)
    for name, gradient in _gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-12)
    assert plain.metrics.compute() == pytest.approx(fused.metrics.compute(), rel=1e-12)


@pytest.mark.parametrize("model_name", MODEL_CLASSES)
def test_bfloat16_autocast_gives_finite_float32_gradients(model_name: str) -> None:
    model, criterion = _model(model_name).float(), _criterion()
    exact = criterion(model, _batch(SOURCES, TARGETS)).total
    with torch.autocast("cpu", torch.bfloat16):
        loss = criterion(model, _batch(SOURCES, TARGETS))
    loss.total.backward()
    torch.testing.assert_close(loss.total, exact, rtol=2e-2, atol=0)
    for gradient in _gradients(model).values():
        assert gradient.dtype == torch.float32
        assert gradient.isfinite().all()


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_an_impossible_label_smoothing_is_refused_by_name(value: float) -> None:
    with pytest.raises(ConfigError, match=r"criterion\.label_smoothing must"):
        LabelSmoothedCrossEntropyConfig(label_smoothing=value)

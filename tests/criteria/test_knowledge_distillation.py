from pathlib import Path
from typing import Any

import pytest
import torch
from given_output import Given, batch_of, build, check_gradients, loss_of, random
from torch import Tensor

from seqtrain.batch import Batch
from seqtrain.checkpoint.commit import write_checkpoint
from seqtrain.criteria.knowledge_distillation import KnowledgeDistillation
from seqtrain.errors import ConfigError
from seqtrain.models.base import MODELS, Model, ModelContext

CONTEXT = ModelContext(source_vocab_size=6, target_vocab_size=6, shared_vocab=True)
TARGETS = torch.tensor([[4, 2, 1], [5, 3, 2]])  # 1 is padding
PLACES = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
MODEL = {"name": "transformer", "dim": 8, "num_heads": 2, "encoder_layers": 1, "dropout": 0.5}
TASK = {"symbols": ["a", "b"]}


def _model(seed: int) -> Model:
    torch.manual_seed(seed)
    section = MODELS.parse(MODEL)
    return MODELS.get("transformer").cls.from_config(section, CONTEXT)


def _criterion(teacher: str = "unused", **fields: Any) -> KnowledgeDistillation:
    criterion = build("knowledge_distillation", CONTEXT, teacher=teacher, **fields)
    assert isinstance(criterion, KnowledgeDistillation)
    return criterion


def _taught_by(taught: Tensor, **fields: Any) -> KnowledgeDistillation:
    criterion = _criterion(**fields)
    criterion._teacher = [Given(taught)]  # type: ignore[list-item] # a model's output is all it is
    return criterion


def _write_teacher(folder: Path, model: Model, **parts: Any) -> Path:
    given = {"config": {"model": MODEL}, "task": TASK, "model": model.state_dict()}
    return write_checkpoint(folder, 7, given | parts, {})


def _batch() -> Batch:
    tokens = torch.tensor([[4, 5, 2], [5, 2, 1]])
    inputs = {"source_tokens": tokens, "prev_output_tokens": tokens}
    return Batch(inputs=inputs, targets=TARGETS, ids=torch.arange(2), num_targets=5)


def test_the_loss_is_the_formula_of_targets_and_teacher() -> None:
    torch.manual_seed(0)
    logits, taught = random(2, 3, 6), random(2, 3, 6).detach()
    criterion = _taught_by(taught, teacher_weight=0.3, temperature=2.0)
    loss = loss_of(criterion, batch_of(TARGETS, 5), logits)
    nll = divergence = 0.0
    for row, position in PLACES:
        student, teacher = logits[row, position], taught[row, position]
        nll -= student.log_softmax(dim=0)[TARGETS[row, position]].item()
        p, q = (student / 2).softmax(dim=0), (teacher / 2).softmax(dim=0)
        divergence += sum((q[k] * (q[k] / p[k]).log()).item() for k in range(6))
    assert loss.total.item() == pytest.approx(0.7 * nll + 0.3 * 4 * divergence, rel=1e-12)
    assert loss.metrics["kl"].compute() == pytest.approx(divergence / 5, rel=1e-12)
    assert loss.metrics["nll_loss"].compute() == pytest.approx(nll / 5, rel=1e-12)


def test_its_gradient_is_right() -> None:
    torch.manual_seed(0)
    criterion, batch = _taught_by(random(2, 3, 6).detach(), temperature=2.0), batch_of(TARGETS, 5)
    check_gradients(lambda logits: loss_of(criterion, batch, logits).total, random(2, 3, 6))


def test_the_teacher_is_what_its_checkpoint_holds_and_drops_nothing(tmp_path: Path) -> None:
    model, teacher = _model(0), _model(1)
    criterion = _criterion(str(_write_teacher(tmp_path, teacher)), teacher_weight=1.0)
    criterion.prepare_training(TASK, torch.device("cpu"))
    loss = criterion(model.eval(), _batch())
    p, q = (
        network.eval()(**_batch().inputs).logits[TARGETS != 1].log_softmax(dim=-1)
        for network in (model, teacher)
    )
    torch.testing.assert_close(loss.total, (q.exp() * (q - p)).sum())


def test_the_teacher_is_neither_trained_nor_saved(tmp_path: Path) -> None:
    criterion = _criterion(str(_write_teacher(tmp_path, _model(1))))
    criterion.prepare_training(TASK, torch.device("cpu"))
    assert list(criterion.parameters()) == []
    assert criterion.state_dict() == {}
    criterion.train()
    model = _model(0)
    criterion(model, _batch()).total.backward()
    assert all(p.grad is None for p in criterion._teacher[0].parameters())
    assert not criterion._teacher[0].training


def test_a_teacher_with_averaged_weights_teaches_with_them(tmp_path: Path) -> None:
    average = _model(2)
    path = _write_teacher(tmp_path, _model(1), ema={"model": average.state_dict()})
    criterion = _criterion(str(path))
    criterion.prepare_training(TASK, torch.device("cpu"))
    torch.testing.assert_close(
        criterion._teacher[0].state_dict(), average.state_dict(), rtol=0, atol=0
    )


def test_evaluation_does_without_the_teacher_and_logs_the_same_names() -> None:
    torch.manual_seed(0)
    logits, batch = random(2, 3, 6), batch_of(TARGETS, 5)
    trained = loss_of(_taught_by(random(2, 3, 6).detach()), batch, logits)
    evaluated = loss_of(_criterion().eval(), batch, logits)
    plain = loss_of(build("cross_entropy", CONTEXT), batch, logits)
    assert evaluated.total == plain.total
    assert list(evaluated.metrics) == list(trained.metrics)


def test_a_teacher_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    criterion = _criterion(str(_write_teacher(tmp_path, _model(1))))
    with pytest.raises(ConfigError, match="other vocabularies"):
        criterion.prepare_training({"symbols": ["b", "a"]}, torch.device("cpu"))


def test_a_missing_teacher_is_asked_for_at_once() -> None:
    with pytest.raises(ConfigError, match=r"criterion\.teacher is not set"):
        _criterion(teacher="")

import pytest
import torch
from given_output import Given, batch_of, build, check_gradients, loss_of, random
from torch import Tensor

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelContext

CONTEXT = ModelContext(target_vocab_size=6)
TARGETS = torch.tensor([[4, 2, 1], [5, 3, 2]])  # 1 is padding
PLACES = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]


def _smoothed(log_probs: list[float], target: int) -> float:
    rest = sum(log_probs) - log_probs[target]
    return -0.9 * log_probs[target] - 0.1 / 5 * rest


def test_the_loss_is_half_of_both_passes_and_of_their_divergence() -> None:
    torch.manual_seed(0)
    first, second = random(2, 3, 6), random(2, 3, 6)
    loss = loss_of(build("r_drop", CONTEXT, kl_weight=3.0), batch_of(TARGETS, 5), first, second)
    expected = divergence = 0.0
    for row, position in PLACES:
        p, q = (logits[row, position].log_softmax(dim=0) for logits in (first, second))
        target = int(TARGETS[row, position])
        expected += 0.5 * (_smoothed(p.tolist(), target) + _smoothed(q.tolist(), target))
        for k in range(6):
            divergence += (p[k].exp() * (p[k] - q[k]) + q[k].exp() * (q[k] - p[k])).item() / 2
    expected += 0.5 * 3.0 * divergence
    assert loss.total.item() == pytest.approx(expected, rel=1e-12)
    assert loss.metrics["kl"].compute() == pytest.approx(divergence / 5, rel=1e-12)


def test_its_gradients_are_right_in_both_passes() -> None:
    torch.manual_seed(0)
    criterion, batch = build("r_drop", CONTEXT), batch_of(TARGETS, 5)

    def total(first: Tensor, second: Tensor) -> Tensor:
        return loss_of(criterion, batch, first, second).total

    check_gradients(total, random(2, 3, 6), random(2, 3, 6))


def test_without_dropout_it_is_label_smoothed_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, batch = random(2, 3, 6), batch_of(TARGETS, 5)
    plain = loss_of(build("label_smoothed_cross_entropy", CONTEXT), batch, logits)
    assert loss_of(build("r_drop", CONTEXT), batch, logits).total == plain.total


def test_evaluation_makes_one_pass_and_logs_the_same_names() -> None:
    torch.manual_seed(0)
    criterion, batch = build("r_drop", CONTEXT, report_accuracy=True), batch_of(TARGETS, 5)
    trained = loss_of(criterion, batch, random(2, 3, 6), random(2, 3, 6))
    model = Given(random(2, 3, 6))
    evaluated = criterion.eval()(model, batch)
    assert model.num_calls == 1
    assert list(evaluated.metrics) == list(trained.metrics)


@pytest.mark.parametrize("fields", [{"kl_weight": -1.0}, {"label_smoothing": 1.0}])
def test_impossible_settings_are_refused_by_name(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"criterion\.{next(iter(fields))}"):
        build("r_drop", CONTEXT, **fields)

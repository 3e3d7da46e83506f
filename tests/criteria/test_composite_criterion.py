import pytest
import torch
from given_output import Given, batch_of, build, check_gradients, loss_of, random

from seqtrain.errors import ConfigError, UnknownNameError
from seqtrain.models.base import ModelContext

CONTEXT = ModelContext(target_vocab_size=6)
TARGETS = torch.tensor([[4, 2, 1], [5, 3, 2]])  # 1 is padding
MEMBERS = [
    {"name": "cross_entropy"},
    {"name": "ctc", "weight": 0.3},
    {"name": "label_smoothed_cross_entropy", "weight": 2.0, "label_smoothing": 0.2},
]


def test_the_loss_is_the_weighted_sum_of_the_members() -> None:
    torch.manual_seed(0)
    logits, batch = random(2, 7, 6), batch_of(TARGETS, 5)
    members = [
        {"name": "ctc", "weight": 0.3},
        {"name": "ctc", "weight": 2.0, "blank_index": 3},
    ]
    loss = loss_of(build("composite", CONTEXT, members=members), batch, logits)
    expected = sum(
        weight * loss_of(build("ctc", CONTEXT, blank_index=blank), batch, logits).total
        for weight, blank in ((0.3, 0), (2.0, 3))
    )
    torch.testing.assert_close(loss.total, expected, rtol=1e-12, atol=0)
    assert list(loss.metrics) == ["loss", "ctc_loss", "ctc_2_loss"]


def test_the_model_runs_once_for_members_that_share_its_output() -> None:
    model = Given(random(2, 3, 6))
    build("composite", CONTEXT, members=MEMBERS)(model, batch_of(TARGETS, 5))
    assert model.num_calls == 1


def test_a_member_with_passes_of_its_own_gets_them() -> None:
    model = Given(random(2, 3, 6), random(2, 3, 6), random(2, 3, 6))
    criterion = build("composite", CONTEXT, members=[{"name": "cross_entropy"}, {"name": "r_drop"}])
    loss = criterion(model, batch_of(TARGETS, 5))
    assert model.num_calls == 3
    assert loss.metrics["r_drop_kl"].compute() > 0


def test_its_gradient_is_right() -> None:
    torch.manual_seed(0)
    criterion, batch = build("composite", CONTEXT, members=MEMBERS), batch_of(TARGETS, 5)
    check_gradients(lambda logits: loss_of(criterion, batch, logits).total, random(2, 3, 6))


def test_parameters_of_members_are_its_own() -> None:
    members = [{"name": "adaptive_softmax", "dim": 4}]
    state = build("composite", CONTEXT, members=members).state_dict()
    assert "members.adaptive_softmax.head.weight" in state


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ([], ConfigError, r"criterion\.members"),
        ([{"name": "ctc", "weight": -1}], ConfigError, r"criterion\.members\[0\]\.weight"),
        ([{"name": "ctd"}], UnknownNameError, "ctc"),
        ([{"name": "ctc", "blank": 1}], ConfigError, "blank_index"),
    ],
)
def test_wrong_members_are_refused_by_name(
    members: list[dict[str, object]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build("composite", CONTEXT, members=members)

from itertools import pairwise

import pytest
import torch
from given_output import batch_of, build, check_gradients, loss_of, random
from torch import Tensor

from seqtrain.criteria.adaptive_softmax import AdaptiveSoftmax
from seqtrain.criteria.base import Criterion
from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelContext

CONTEXT = ModelContext(target_vocab_size=12)
TARGETS = torch.tensor([[2, 5, 11], [7, 2, 1]])  # 1 is padding


def _criterion() -> AdaptiveSoftmax:
    torch.manual_seed(0)
    criterion = build("adaptive_softmax", CONTEXT, dim=8, cutoffs=[4, 8], factor=2.0).double()
    assert isinstance(criterion, AdaptiveSoftmax)
    return criterion


def _distribution(criterion: AdaptiveSoftmax, features: Tensor) -> Tensor:
    """All probabilities of one position, symbol by symbol."""
    head = criterion.head(features).softmax(dim=0)
    probabilities = list(head[:4])
    for index, (begin, end) in enumerate(pairwise(criterion.edges)):
        inside = criterion.clusters[index](features).softmax(dim=0)
        probabilities += [head[4 + index] * inside[k] for k in range(end - begin)]
    return torch.stack(probabilities)


def test_the_factorised_probabilities_of_all_symbols_add_up_and_give_the_loss() -> None:
    criterion, features = _criterion(), random(2, 3, 8)
    loss = loss_of(criterion, batch_of(TARGETS, 5), features)
    expected = torch.zeros((), dtype=torch.float64)
    for row in range(2):
        for position in range(3):
            distribution = _distribution(criterion, features[row, position])
            assert float(distribution.sum().detach()) == pytest.approx(1.0)
            if TARGETS[row, position] != 1:
                expected = expected - distribution[TARGETS[row, position]].log()
    torch.testing.assert_close(loss.total, expected, rtol=1e-12, atol=0)
    assert loss.num_targets == 5


def test_clusters_are_narrower_the_rarer_their_symbols_are() -> None:
    shapes = {name: list(p.shape) for name, p in _criterion().named_parameters()}
    assert shapes["clusters.0.0.weight"] == [4, 8]
    assert shapes["clusters.1.0.weight"] == [2, 8]


def test_a_cluster_without_a_target_has_gradients_of_zero() -> None:
    criterion = _criterion()
    loss_of(criterion, batch_of(torch.tensor([[2, 3]]), 2), random(1, 2, 8)).total.backward()
    for cluster in criterion.clusters:
        for parameter in cluster.parameters():
            assert parameter.grad is not None
            assert not parameter.grad.any()


def test_its_gradients_are_right_in_features_and_parameters() -> None:
    criterion, batch = _criterion(), batch_of(TARGETS, 5)
    names = [name for name, _ in criterion.named_parameters()]

    def total(features: Tensor, *parameters: Tensor) -> Tensor:
        given = dict(zip(names, parameters, strict=True))
        with torch.nn.utils.stateless._reparametrize_module(criterion, given):
            return loss_of(criterion, batch, features).total

    check_gradients(total, random(2, 3, 8), *criterion.parameters())


@pytest.mark.parametrize("cutoffs", [[0, 3], [5, 5], [4, 12], [13]])
def test_cutoffs_that_make_an_empty_cluster_are_refused(cutoffs: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"criterion\.cutoffs"):
        build("adaptive_softmax", CONTEXT, dim=8, cutoffs=cutoffs)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_the_automatic_cutoffs_fit_every_vocabulary(size: int) -> None:
    criterion: Criterion = build("adaptive_softmax", ModelContext(target_vocab_size=size), dim=8)
    assert isinstance(criterion, AdaptiveSoftmax)
    assert criterion.edges == sorted(set(criterion.edges))
    assert criterion.edges[-1] == size


def test_a_wrong_width_is_named_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"criterion\.dim is 8.* have 6"):
        loss_of(_criterion(), batch_of(TARGETS, 5), random(2, 3, 6))

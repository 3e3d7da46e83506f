"""Softmax over short rows: the same as torch's, with its gradient."""

import pytest
import torch

from seqtrain.modules.attention import MASKED_SCORE
from seqtrain.modules.short_softmax import LONGEST, softmax


@pytest.mark.parametrize("length", [1, 7, LONGEST, LONGEST + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_values_and_gradients_are_torchs(length: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    scores = (10 * torch.randn(6, 5, length)).to(dtype)
    scores[0, :, 1:] = MASKED_SCORE
    scores[1] = MASKED_SCORE
    scores.requires_grad_()
    wide = torch.promote_types(dtype, torch.float32)
    of_weights, results = torch.randn(6, 5, length, dtype=wide), []
    for function in (softmax, lambda x, dtype: torch.softmax(x, dim=-1, dtype=dtype)):
        weights = function(scores, wide)
        (gradient,) = torch.autograd.grad(weights, scores, of_weights)
        results.append([weights.detach(), gradient])
    tolerance = {"rtol": 1e-2, "atol": 1e-3} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(*results, **tolerance)


def test_a_masked_score_gets_no_weight_at_all() -> None:
    scores = torch.tensor([[1.0, MASKED_SCORE, 2.0]], requires_grad=True)
    assert softmax(scores, torch.float32).detach()[0, 1] == 0.0

"""Token embeddings and what they share."""

import pytest
import torch

from seqtrain.modules.embedding import TokenEmbedding, build_embeddings


def test_vectors_are_scaled_and_positions_added() -> None:
    torch.manual_seed(0)
    embedding = TokenEmbedding(10, 4, padding_index=1)
    tokens, positions = torch.tensor([[2, 5], [7, 1]]), torch.randn(2, 4)
    expected = embedding.weight[tokens] * 2.0
    torch.testing.assert_close(embedding(tokens), expected)
    torch.testing.assert_close(embedding(tokens, positions), expected + positions)


def test_padding_is_zero_and_gets_no_gradient_as_an_input() -> None:
    embedding = TokenEmbedding(10, 4, padding_index=1)
    embedding(torch.tensor([[1, 3]])).sum().backward()
    assert not embedding.weight[1].any()
    assert embedding.weight.grad is not None
    assert not embedding.weight.grad[1].any()
    assert embedding.weight.grad[3].all()


@pytest.mark.parametrize(("sharing", "number"), [("all", 1), ("decoder", 2), ("none", 3)])
def test_sharing_uses_one_weight_where_it_says(sharing: str, number: int) -> None:
    parts = build_embeddings((10, 10), 4, 1, sharing)
    assert len({id(part.weight) for part in parts}) == number


def test_vocabularies_may_differ_in_size() -> None:
    source, target, output = build_embeddings((10, 12), 4, 1, "decoder")
    assert (len(source.weight), len(target.weight), output.out_features) == (10, 12, 12)

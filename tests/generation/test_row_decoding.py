"""Search with a model that offers nothing but `decode`."""

import itertools

import pytest
import torch
from generation.search_cases import CONTEXT, SOURCES, assert_same, batch_of, build

from seqtrain.generation.base import GenerationConfig
from seqtrain.generation.build import build_search
from seqtrain.generation.row_decoding import RowDecoding, decoding_for
from seqtrain.models.base import AutoregressiveModel
from seqtrain.models.lstm import LSTMConfig, LSTMModel
from seqtrain.models.transformer import TransformerConfig, TransformerModel


class PlainLSTM(LSTMModel):
    """Decodes row by row."""

    decoding = AutoregressiveModel.decoding


class PlainTransformer(TransformerModel):
    """Decodes row by row."""

    decoding = AutoregressiveModel.decoding


def _build(kind: str) -> AutoregressiveModel:
    torch.manual_seed(0)
    if kind == "lstm":
        return PlainLSTM.from_config(LSTMConfig(dim=8, dropout=0.5), CONTEXT)
    config = TransformerConfig(dim=8, ffn_dim=16, num_heads=2, dropout=0.5)
    return PlainTransformer.from_config(config, CONTEXT)


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
@pytest.mark.parametrize(
    "options",
    [{}, {"constraints": "unordered"}, {"sampling": True}, {"no_repeat_ngram_size": 2}],
)
def test_outputs_are_those_of_the_models_own_decoding(
    kind: str, options: dict[str, bool | int | str]
) -> None:
    plain, own = _build(kind), build(kind)
    assert isinstance(decoding_for(plain, 3), RowDecoding)
    assert not isinstance(decoding_for(own, 3), RowDecoding)
    rows = [SOURCES[index % 4] for index in range(12)]
    batches = [
        batch_of(rows[begin:end], "source_tokens", begin)
        for begin, end in itertools.pairwise((0, 5, 6, 12))
    ]
    for batch in batches:
        phrases = torch.tensor([[[3, 4], [6, 1]]]).expand(batch.num_examples, -1, -1)
        batch.extras["phrases"] = phrases
    config = GenerationConfig(beam=3, nbest=3, max_len_a=1.0, max_len_b=5, **options)  # type: ignore[arg-type] # of several types
    expected = dict(build_search([own], config, CONTEXT).stream(batches))
    found = dict(build_search([plain], config, CONTEXT).stream(batches))
    assert sorted(found) == sorted(expected) == list(range(12))
    for index, nbest in found.items():
        assert_same(nbest, expected[index])

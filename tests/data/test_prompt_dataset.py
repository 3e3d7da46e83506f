"""Prompts as batches."""

import numpy as np

from seqtrain.data.prompt_dataset import PromptDataset
from seqtrain.data.token_store import TokenStore


def test_a_prompt_is_eos_and_the_sequence_without_targets() -> None:
    dataset = PromptDataset(TokenStore.from_sequences([[5, 6], [], [7]], 8))
    batch = dataset.batch(np.array([0, 1, 2]), epoch=1)
    assert batch.inputs["prev_output_tokens"].tolist() == [[2, 5, 6], [2, 1, 1], [2, 7, 1]]
    assert batch.num_targets == 0
    assert len(dataset) == 3
    assert dataset.lengths.tolist() == [[3], [1], [2]]
    assert dataset.empty_batch().num_examples == 0

import torch

from seqtrain.batch import Batch


def test_moving_a_batch_keeps_its_counts_and_moves_every_tensor() -> None:
    batch = Batch(
        inputs={"tokens": torch.ones(2, 3)},
        targets=torch.zeros(2, 3),
        ids=torch.tensor([4, 5]),
        num_targets=6,
        num_tokens=11,
        num_positions=12,
        extras={"weights": torch.ones(2)},
    )
    moved = batch.to(torch.device("meta"))
    assert (moved.num_targets, moved.num_tokens, moved.num_positions) == (6, 11, 12)
    assert moved.num_examples == 2
    tensors = [moved.inputs["tokens"], moved.targets, moved.ids, moved.extras["weights"]]
    assert {tensor.device.type for tensor in tensors} == {"meta"}

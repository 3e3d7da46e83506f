"""The batches that fairseq-generate makes, as far as a result of it depends on them."""

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
ROW_MULTIPLE = 8
"""fairseq's required_batch_size_multiple."""


def padded_source_lengths(lengths: npt.NDArray[np.int32], max_tokens: int) -> IntArray:
    """Returns the longest source of the batch that fairseq would put each example in.

    Its search takes the longest output from the padded source. Batches are cut from the examples
    in the order of source and then target length; a full one gives up what exceeds a multiple of
    eight rows.

    Args:
        lengths: Positions of source and target, eos counted, [examples, sides].
        max_tokens: Budget of a batch: rows times longest side.

    Returns:
        int64 [examples].
    """
    order = np.lexsort((lengths[:, -1], lengths[:, 0]))
    longest = lengths.max(axis=1)[order].tolist()
    padded = np.empty(len(order), dtype=np.int64)
    begin = width = 0

    def close(end: int) -> None:
        rows = order[begin:end]
        padded[rows] = lengths[rows, 0].max()

    for end, length in enumerate(longest):
        width = max(width, length)
        size = end - begin
        if size and (size + 1) * width > max_tokens:
            kept = max(size - size % ROW_MULTIPLE, size % ROW_MULTIPLE)
            close(begin + kept)
            begin += kept
            width = max(longest[begin : end + 1])
    if begin < len(order):
        close(len(order))
    return padded

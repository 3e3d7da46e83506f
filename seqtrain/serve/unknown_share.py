"""How much of an input a model does not know: symbols that its vocabulary lacks."""

import numpy as np

from seqtrain.data.dataset import Dataset
from seqtrain.data.vocabulary import UNKNOWN

INPUTS = ("source_tokens", "prev_output_tokens", "tokens")
"""Where batches have the symbols of an input; the first one that is there counts."""


def unknown_percent(inputs: Dataset) -> list[float] | None:
    """Returns the share of unknown symbols in each input, in percent; ends are not counted.

    Args:
        inputs: None comes back where they are not made of symbols.
    """
    batch = inputs.batch(np.arange(len(inputs)), 1)
    name = next((name for name in INPUTS if name in batch.inputs), "")
    if not name:
        return None
    tokens = batch.inputs[name]
    num_symbols = tokens.ge(UNKNOWN).sum(dim=1)  # below are padding, beginning and end
    num_unknown = tokens.eq(UNKNOWN).sum(dim=1)
    shares = 100.0 * num_unknown / num_symbols.clamp(min=1)
    return [round(float(share), 2) for share in shares]

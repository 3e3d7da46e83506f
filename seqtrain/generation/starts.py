"""What a search begins with: sources, prompts and forced prefixes of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqtrain.batch import Batch
from seqtrain.data.demanding_dataset import FORCED_PREFIXES, PHRASES
from seqtrain.errors import ConfigError, DataError
from seqtrain.generation.base import LIMITING_LENGTHS, GenerationConfig
from seqtrain.models.base import AutoregressiveModel, EncoderDecoderModel, ModelContext


@dataclass(frozen=True)
class Start:
    """Examples whose outputs begin with equally many symbols."""

    source_tokens: Tensor | None
    """int64 [examples, time], padded on the right; None for a prompt alone."""
    tokens: Tensor
    """What is written already, the first eos included, int64 [examples, time]."""
    given: int
    """Symbols of it that do not belong to the output: the eos, or a prompt."""
    limits: Tensor
    """Most symbols of an output, eos not counted, int64 [examples]."""
    numbers: Tensor
    """Running numbers, int64 [examples]."""
    ids: Tensor
    """Indices in the dataset, int64 [examples]."""
    phrases: Tensor | None = None
    """Symbols of the phrases that an output must contain, int64 [examples, phrases, time]; padding
    behind. None for none."""

    def __len__(self) -> int:
        return self.tokens.size(0)

    def memory(self, model: AutoregressiveModel) -> dict[str, Tensor]:
        """Returns what a model remembers of the source."""
        if self.source_tokens is None or not isinstance(model, EncoderDecoderModel):
            return {}
        return model.encode(self.source_tokens)


def starts_of(
    batch: Batch,
    models: Sequence[AutoregressiveModel],
    config: GenerationConfig,
    context: ModelContext,
    first_number: int,
) -> list[Start]:
    """Returns the examples of a batch, by the length of what their outputs begin with.

    With a source an output begins with what is demanded of it, else with generation.prefix_size
    symbols of the target; without one the example is a prompt, or its first
    generation.prefix_size symbols are.

    Args:
        batch: The examples.
        models: Of the search: their positions limit lengths.
        config: Options of the search.
        context: Special symbols.
        first_number: Running number of the first example.

    Raises:
        DataError: The batch has neither sources nor prompts.
    """
    source_tokens = batch.inputs.get("source_tokens")
    prompts = batch.inputs.get("prev_output_tokens")
    if source_tokens is None and prompts is None:
        raise DataError("A batch has neither source_tokens nor prev_output_tokens to begin with.")
    ends = torch.full((batch.num_examples, 1), context.eos_index, device=batch.targets.device)
    if source_tokens is None and prompts is not None:
        if FORCED_PREFIXES in batch.extras:
            raise ConfigError(
                "generation.forced_prefix: a language model continues its line, so the beginning "
                "belongs there. Leave it out."
            )
        beginnings = prompts[:, : config.prefix_size + 1] if config.prefix_size else prompts
        lengths = beginnings.ne(context.padding_index).sum(dim=1)
        limits = _limits(lengths - 1, config)
    else:
        forced = batch.extras.get(FORCED_PREFIXES, batch.targets[:, : config.prefix_size])
        beginnings = torch.cat([ends, forced], dim=1)
        is_over = forced.eq(context.padding_index) | forced.eq(context.eos_index)
        lengths = (~is_over).cumprod(dim=1).sum(dim=1) + 1
        own = _source_lengths(source_tokens, context)
        limits = _limits(batch.extras.get(LIMITING_LENGTHS, own), config)
    known = [model.max_target_positions for model in models if model.max_target_positions]
    phrases = batch.extras.get(PHRASES)
    starts = []
    for length in lengths.unique().tolist():
        rows = (lengths == length).nonzero()[:, 0]
        tokens, longest = _cut(beginnings[rows, :length], limits[rows], min(known, default=0))
        starts.append(
            Start(
                source_tokens=None if source_tokens is None else source_tokens[rows],
                tokens=tokens,
                given=tokens.size(1) if source_tokens is None else 1,
                limits=longest,
                numbers=rows + first_number,
                ids=batch.ids[rows],
                phrases=None if phrases is None else phrases[rows],
            )
        )
    return starts


def _source_lengths(source_tokens: Tensor | None, context: ModelContext) -> Tensor:
    if source_tokens is None:
        return torch.zeros(0, dtype=torch.int64)
    return source_tokens.ne(context.padding_index).sum(dim=1)


def _limits(input_lengths: Tensor, config: GenerationConfig) -> Tensor:
    # In double precision and cut, as Python's int(a * length + b).
    return (config.max_len_a * input_lengths.double() + config.max_len_b).long()


def _cut(tokens: Tensor, limits: Tensor, positions: int) -> tuple[Tensor, Tensor]:
    """Returns what fits into the models' positions; of a long beginning the last symbols.

    Reading the symbols of an output after a beginning takes a position for each of both.

    Args:
        tokens: int64 [examples, time].
        limits: int64 [examples].
        positions: Of the models; 0 for no limit.
    """
    if not positions:
        return tokens, limits
    room = max(positions - int(limits.max()), positions // 2, 1)
    if tokens.size(1) > room:
        tokens = tokens[:, -room:]
    return tokens, limits.clamp(max=positions - tokens.size(1))

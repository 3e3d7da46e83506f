"""Which source symbols an output comes from, read off the model's attention."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError
from seqtrain.generation.base import GenerationConfig, Generator, Hypothesis
from seqtrain.generation.search import evaluating
from seqtrain.models.base import AutoregressiveModel, EncoderDecoderModel, ModelContext

EXAMPLES_AT_ONCE = 32
"""Whose outputs are read again together."""


class AligningGenerator(Generator):
    """Another generator, whose outputs get their attention to the source.

    The models read each output once more, as in training. The attention is the mean of the models.

    Args:
        generator: Finds the outputs.
        models: Those that write.
        config: Options of the search.
        context: Special symbols.

    Raises:
        ConfigError: A model has no source.
    """

    def __init__(
        self,
        generator: Generator,
        models: Sequence[AutoregressiveModel],
        config: GenerationConfig,
        context: ModelContext,
    ) -> None:
        self.generator = generator
        self.models = [model for model in models if isinstance(model, EncoderDecoderModel)]
        if len(self.models) != len(models):
            raise ConfigError(
                "generation.print_alignment needs encoder-decoder models: a language model has no "
                "source. Leave it out."
            )
        self.config = config
        self.context = context

    @override
    def generate(self, batch: Batch) -> list[list[Hypothesis]]:
        found = self.generator.generate(batch)
        return self._aligned(list(batch.inputs["source_tokens"][: len(found)]), found)

    @override
    def stream(self, batches: Iterable[Batch]) -> Iterator[tuple[int, list[Hypothesis]]]:
        sources: dict[int, Tensor] = {}
        waiting: dict[int, list[Hypothesis]] = {}

        def remembered() -> Iterator[Batch]:
            for batch in batches:
                sources.update(zip(batch.ids.tolist(), batch.inputs["source_tokens"], strict=False))
                yield batch

        def aligned() -> Iterator[tuple[int, list[Hypothesis]]]:
            rows = [sources.pop(index) for index in waiting]
            yield from zip(waiting, self._aligned(rows, list(waiting.values())), strict=True)

        for index, nbest in self.generator.stream(remembered()):
            waiting[index] = nbest
            if len(waiting) == EXAMPLES_AT_ONCE:
                yield from aligned()
                waiting = {}
        yield from aligned()

    def _aligned(
        self, sources: list[Tensor], found: list[list[Hypothesis]]
    ) -> list[list[Hypothesis]]:
        """Returns the hypotheses of some examples, given the symbols of their sources."""
        padding, eos = self.context.padding_index, self.context.eos_index
        real = [row[row != padding] for row in sources]
        rows = [row for row, nbest in zip(real, found, strict=True) for _ in nbest]
        flat = [hypothesis for nbest in found for hypothesis in nbest]
        if not flat:
            return found
        begun = [torch.tensor([eos, *one.tokens], device=rows[0].device) for one in flat]
        attention = self._attention(_padded(rows, padding), _padded(begun, padding))
        aligned = iter(
            [
                self._with_attention(one, weights[: len(one.tokens) + 1, : len(row)])
                for one, row, weights in zip(flat, rows, attention, strict=True)
            ]
        )
        return [[next(aligned) for _ in nbest] for nbest in found]

    def _attention(self, source_tokens: Tensor, prev_output_tokens: Tensor) -> Tensor:
        """Returns the mean of the models on the host, [rows, time, source time]."""
        layer = self.config.alignment_layer
        with torch.no_grad(), evaluating(self.models, retain_dropout=False):
            by_model = [
                model.attention(source_tokens, prev_output_tokens, layer).float()
                for model in self.models
            ]
        return torch.stack(by_model).mean(dim=0).cpu()

    def _with_attention(self, hypothesis: Hypothesis, weights: Tensor) -> Hypothesis:
        """Returns the hypothesis with what was asked for.

        Args:
            hypothesis: Without it.
            weights: [symbols and eos, source symbols and eos].
        """
        symbols = weights[:-1, :-1]  # nothing is aligned with an eos
        alignment = symbols.argmax(dim=1).tolist() if symbols.size(1) else []
        soft = weights.tolist() if self.config.print_alignment == "soft" else None
        return replace(hypothesis, alignment=alignment, attention=soft)


def _padded(rows: Sequence[Tensor], padding: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=padding)

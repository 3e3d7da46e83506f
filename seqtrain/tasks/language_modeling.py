"""Language modelling: each symbol of a text given those before it."""

import math
from dataclasses import dataclass

from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.measured_dataset import MeasuredDataset
from seqtrain.data.monolingual_data import TextCounts, TextData
from seqtrain.data.packed_dataset import PackedDataset
from seqtrain.data.vocabulary import EOS, PADDING
from seqtrain.errors import ConfigError
from seqtrain.metrics import Mean, Metrics
from seqtrain.models.base import ModelContext
from seqtrain.tasks.base import register_task
from seqtrain.tasks.text_task import TextTask, TextTaskConfig, blocks_of, check_break_mode

TRAIN = "train"
BYTES, CHARACTERS = "bytes_per_target", "characters_per_target"


@dataclass(kw_only=True)
class LanguageModelingConfig(TextTaskConfig):
    """Plain text, to be written from left to right."""

    break_mode: str = "none"
    """How text is cut into examples: none (anywhere), complete (at the last line end that fits),
    complete_doc (the same, never across documents), document (each document into pieces), eos
    (each line is one)."""
    isolate_documents: bool = False
    """No position sees another document, where an example holds parts of several."""
    context_window: int = 0
    """In evaluation, so many symbols before each example are read as well (as far as there are),
    so that each symbol is judged with at least that many before it. Costs about
    tokens_per_sample / (tokens_per_sample - context_window) times the time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_break_mode(self.break_mode)
        if not 0 <= self.context_window < self.tokens_per_sample:
            raise ConfigError(
                "task.context_window must be at least 0 and below task.tokens_per_sample "
                f"({self.tokens_per_sample}), got {self.context_window}."
            )


@register_task("language_modeling", config=LanguageModelingConfig)
class LanguageModelingTask(TextTask):
    """Blocks of a text and the same one to the left.

    Evaluation adds bits_per_byte and bits_per_character: the negative log probability (base 2) of
    the split's text, line ends included, per byte of its UTF-8 and per character. They compare
    models of different vocabularies, and models with compressors.
    """

    @property
    @override
    def context(self) -> ModelContext:
        return ModelContext(
            target_vocab_size=len(self.side.vocabulary),
            padding_index=PADDING,
            eos_index=EOS,
            max_target_positions=self.config.tokens_per_sample,
        )

    @override
    def vocabularies(self) -> dict[str, list[str]]:
        return {"target": self.side.vocabulary.symbols}

    @override
    def build_dataset(self, split: str, data: TextData) -> Dataset:
        config = self.config
        context = 0 if split == TRAIN else config.context_window
        blocks = blocks_of(data, split, config.tokens_per_sample - context, config.break_mode)
        dataset = PackedDataset(blocks, isolate_documents=config.isolate_documents, context=context)
        if split == TRAIN:
            return dataset
        return MeasuredDataset(dataset, _text_per_target(data.counts[split]))

    @override
    def derive(self, metrics: Metrics, batch: Batch) -> Metrics:
        if "nll_loss" not in metrics:
            return Metrics()
        nll, num_targets = metrics["nll_loss"].sums
        return Metrics(
            {
                name: Mean(nll / math.log(2.0), num_targets * batch.extras[per_target])
                for name, per_target in (
                    ("bits_per_byte", BYTES),
                    ("bits_per_character", CHARACTERS),
                )
                if per_target in batch.extras
            }
        )


def _text_per_target(counts: TextCounts) -> dict[str, float]:
    """Returns how much text a target stands for, so that all of a split stand for all its text."""
    num_targets = counts.num_tokens + counts.num_lines
    sizes = {BYTES: counts.num_bytes, CHARACTERS: counts.num_characters}
    return {name: size / num_targets for name, size in sizes.items() if size and num_targets}

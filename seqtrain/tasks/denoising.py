"""Denoising: a text given a corrupted copy of it (Lewis et al. 2020)."""

from dataclasses import dataclass, field

from typing_extensions import override

from seqtrain.data.dataset import Dataset
from seqtrain.data.noise.denoising import DenoisingConfig
from seqtrain.data.noise.denoising_dataset import DenoisingDataset
from seqtrain.data.noise.word_marks import WordMarks
from seqtrain.data.text.monolingual_data import TextData
from seqtrain.data.vocabulary import EOS, PADDING
from seqtrain.models.base import ModelContext
from seqtrain.tasks.base import register_task
from seqtrain.tasks.masked_lm import MASK
from seqtrain.tasks.text_task import TextTask, TextTaskConfig, blocks_of, check_break_mode


@dataclass(kw_only=True)
class DenoisingTaskConfig(TextTaskConfig):
    """Plain text, corrupted anew in each epoch."""

    break_mode: str = "complete_doc"
    """How text is cut into examples: none, complete, complete_doc, document or eos."""
    noise: DenoisingConfig = field(default_factory=DenoisingConfig)
    """What is done to a source; the target is the original, or the hidden spans."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_break_mode(self.break_mode)


@register_task("denoising", config=DenoisingTaskConfig)
class DenoisingTask(TextTask):
    """Corrupted blocks of a text as sources, the blocks as targets, for encoder-decoder models.

    The noise is a function of (seed, epoch, example); that of an evaluation is the same every
    time. The ids after the vocabulary are `<mask>` and the sentinels of span corruption.
    """

    @property
    @override
    def context(self) -> ModelContext:
        vocab_size = len(self.vocabularies()["source"])
        return ModelContext(
            source_vocab_size=vocab_size,
            target_vocab_size=vocab_size,
            shared_vocab=True,
            padding_index=PADDING,
            eos_index=EOS,
            max_source_positions=self.config.tokens_per_sample,
            max_target_positions=self.config.tokens_per_sample,
        )

    @override
    def vocabularies(self) -> dict[str, list[str]]:
        extra = [MASK, *(f"<extra_{i}>" for i in range(self.config.noise.num_extra_symbols - 1))]
        symbols = [*self.side.vocabulary.symbols, *extra]
        return {"source": symbols, "target": symbols}

    @override
    def build_dataset(self, split: str, data: TextData) -> Dataset:
        symbols = self.side.vocabulary.symbols
        return DenoisingDataset(
            blocks_of(data, split, self.config.tokens_per_sample - 1, self.config.break_mode),
            self.config.noise,
            mask_index=len(symbols),
            seed=self.seed,
            word_marks=WordMarks.of(symbols),
        )

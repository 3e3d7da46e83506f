"""Masked language modelling: hidden symbols of a text given all others."""

from dataclasses import dataclass, field

from typing_extensions import override

from seqtrain.data.dataset import Dataset
from seqtrain.data.noise.masked_dataset import MaskedDataset
from seqtrain.data.noise.masking import MaskingConfig
from seqtrain.data.noise.word_marks import WordMarks
from seqtrain.data.text.monolingual_data import TextData
from seqtrain.data.vocabulary import EOS, PADDING
from seqtrain.models.base import ModelContext
from seqtrain.tasks.base import register_task
from seqtrain.tasks.text_task import TextTask, TextTaskConfig, blocks_of, check_break_mode

MASK = "<mask>"


@dataclass(kw_only=True)
class MaskedLMTaskConfig(TextTaskConfig):
    """Plain text with hidden symbols, which are drawn anew in each epoch."""

    break_mode: str = "complete"
    """How text is cut into examples: none, complete, complete_doc, document or eos."""
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    """Which symbols are hidden, and by what. The loss counts them alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_break_mode(self.break_mode)


@register_task("masked_lm", config=MaskedLMTaskConfig)
class MaskedLMTask(TextTask):
    """Blocks of a text in which symbols are replaced by the last id, `<mask>`.

    The hidden symbols are a function of (seed, epoch, example); those of an evaluation are the
    same every time.
    """

    @property
    @override
    def context(self) -> ModelContext:
        vocab_size = len(self.side.vocabulary) + 1
        return ModelContext(
            source_vocab_size=vocab_size,
            target_vocab_size=vocab_size,
            shared_vocab=True,
            padding_index=PADDING,
            eos_index=EOS,
            max_source_positions=self.config.tokens_per_sample,
        )

    @override
    def vocabularies(self) -> dict[str, list[str]]:
        symbols = [*self.side.vocabulary.symbols, MASK]
        return {"source": symbols, "target": symbols}

    @override
    def build_dataset(self, split: str, data: TextData) -> Dataset:
        # One position is for the symbol that begins every example.
        length = self.config.tokens_per_sample - 1
        symbols = self.side.vocabulary.symbols
        return MaskedDataset(
            blocks_of(data, split, length, self.config.break_mode),
            self.config.masking,
            mask_index=len(symbols),
            seed=self.seed,
            word_marks=WordMarks.of(symbols),
        )

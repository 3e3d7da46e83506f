"""Language modelling: each symbol of a text given those before it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.measured_dataset import MeasuredDataset
from seqtrain.data.packed_dataset import PackedDataset
from seqtrain.data.prepare_options import PrepareOptions
from seqtrain.data.prompt_dataset import PromptDataset
from seqtrain.data.shard_manifest import Shard, num_entries
from seqtrain.data.text.monolingual_data import TextCounts, TextData
from seqtrain.data.text.monolingual_open import open_text
from seqtrain.data.text.monolingual_preprocess import training_prefixes
from seqtrain.data.token_blocks import TokenBlocks
from seqtrain.data.token_store import TokenStore
from seqtrain.data.training_shards import ShardOptions, list_shards, open_training_shards
from seqtrain.data.vocabulary import EOS, PADDING
from seqtrain.errors import ConfigError
from seqtrain.generation.base import GenerationConfig, Generator, Hypothesis
from seqtrain.metrics import Mean, Metrics
from seqtrain.models.base import DecoderModel, Model, ModelContext
from seqtrain.tasks.base import register_task
from seqtrain.tasks.text_search import all_of, build_text_search
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

    shards: ShardOptions = field(default_factory=ShardOptions)
    """Training text in many prepared folders of which only a few are open at once; with break_mode
    none or eos."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_break_mode(self.break_mode)
        if self.shards.parts and (self.break_mode not in ("none", "eos") or self.isolate_documents):
            raise ConfigError(
                "task.shards works with task.break_mode=none or eos and without isolate_documents: "
                "the others need to know where documents begin in parts that are not open."
            )
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

    @classmethod
    @override
    def prepare_with(cls, config: Any, out: Path, options: PrepareOptions) -> list[str]:
        if not config.shards.parts:
            return super().prepare_with(config, out, options)
        side = open_text(config.vocabulary_from or config.shards.parts[0]).side
        return list_shards(config.shards, partial(training_prefixes, side=side), out)

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
        if split == TRAIN and config.shards.parts:
            return self._shards()
        context = 0 if split == TRAIN else config.context_window
        blocks = blocks_of(data, split, config.tokens_per_sample - context, config.break_mode)
        dataset = PackedDataset(blocks, isolate_documents=config.isolate_documents, context=context)
        if split == TRAIN:
            return dataset
        return MeasuredDataset(dataset, _text_per_target(data.counts[split]))

    def _shards(self) -> Dataset:
        config = self.config
        make = partial(_blocks, length=config.tokens_per_sample, mode=config.break_mode)
        count = partial(_num_blocks, length=config.tokens_per_sample, mode=config.break_mode)
        prefixes = partial(training_prefixes, side=self.side)
        return open_training_shards(
            config.shards, prefixes, make, count, [len(self.side.vocabulary)]
        )

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

    @override
    def build_generator(
        self,
        models: Sequence[Model],
        config: GenerationConfig,
        language_model: Model | None = None,
    ) -> Generator:
        usable = all_of(
            models, DecoderModel, "task=language_modeling generates with language models only."
        )
        return build_text_search(usable, config, self.context, self.decode, language_model)

    @override
    def shown(self, batch: Batch, row: int) -> dict[str, Any]:
        return {"source": self.side.decode(batch.inputs["prev_output_tokens"][row].tolist())}

    @override
    def encode_output(self, text: str) -> Sequence[int]:
        return self.side.encode(text).tolist()

    @override
    def decode(self, hypothesis: Hypothesis) -> str:
        return self.side.decode(hypothesis.tokens)

    @override
    def inference_dataset(self, lines: Sequence[str]) -> Dataset:
        """Returns each line as a prompt, which outputs continue."""
        encoded = [self.side.encode(line) for line in lines]
        return PromptDataset(TokenStore.from_sequences(encoded, len(self.side.vocabulary)))


def _blocks(stores: Sequence[TokenStore], length: int, mode: str) -> Dataset:
    return PackedDataset(TokenBlocks(stores[0], length, mode))


def _num_blocks(shard: Shard, length: int, mode: str) -> int:
    if mode == "eos":
        return num_entries(shard)
    return -(-(shard[0].num_tokens + shard[0].num_entries) // length)


def _text_per_target(counts: TextCounts) -> dict[str, float]:
    """Returns how much text a target stands for, so that all of a split stand for all its text."""
    num_targets = counts.num_tokens + counts.num_lines
    sizes = {BYTES: counts.num_bytes, CHARACTERS: counts.num_characters}
    return {name: size / num_targets for name, size in sizes.items() if size and num_targets}

"""What a model is: built from a config and a context, called with a batch's inputs."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor, nn
from typing_extensions import override

from seqtrain.errors import ConfigError, UnfitModelError
from seqtrain.registry import ComponentConfig, Registry


@dataclass(kw_only=True)
class ModelConfig(ComponentConfig):
    """Base of every model's config."""


IN_WORDS = {
    "source_vocab_size": "a source text",
    "target_vocab_size": "a target text",
    "num_classes": "classes",
    "labels_per_position": "a label for each position",
    "look_back": "rows that are known",
    "horizon": "rows to forecast",
    "num_channels": "channels of values",
}
"""What fields of ModelContext mean, for messages."""


@dataclass(frozen=True, kw_only=True)
class ModelContext:
    """What a task tells a model about its data. Zero means: not known to this task.

    Plain values only: it is saved in checkpoints, so that a model is rebuilt without its data.
    """

    source_vocab_size: int = 0
    target_vocab_size: int = 0
    shared_vocab: bool = False
    """Source and target ids mean the same symbols."""
    bos_index: int = 0
    padding_index: int = 1
    eos_index: int = 2
    max_source_positions: int = 0
    max_target_positions: int = 0
    num_channels: int = 0
    num_classes: int = 0
    labels_per_position: bool = False
    """There is a class for each position, not one for each example."""
    position_rank: int = 0
    """Dimensions of positions: 1 for a sequence, 2 for an image."""
    horizon: int = 0
    look_back: int = 0
    num_time_features: int = 0
    num_quantiles: int = 0

    def require(self, model: str, *names: str) -> None:
        """Raises UnfitModelError if the task does not tell what this model needs."""
        missing = [IN_WORDS.get(name, name) for name in names if not getattr(self, name)]
        if missing:
            needs = " and ".join(missing)
            raise UnfitModelError(f"model={model} needs {needs}, which this task does not have.")


@dataclass
class ModelOutput:
    """What a model's forward returns.

    Args:
        features: Last hidden representation, [batch, time, dim].
        output_layer: Maps features to logits or values. A criterion may fuse it with the loss,
            so it is called only when `logits` is read.
        aux: Further tensors for criteria and callbacks, by name.
    """

    features: Tensor
    output_layer: Callable[[Tensor], Tensor]
    aux: dict[str, Tensor] = field(default_factory=dict)

    @property
    def logits(self) -> Tensor:
        """Logits (or values), [batch, time, vocab]; computed anew at each read."""
        return self.output_layer(self.features)


class Model(nn.Module, ABC):
    """Base of every model. `forward(**batch.inputs)` returns a ModelOutput."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Any, context: ModelContext) -> Self:
        """Builds the model with random weights drawn from torch's global generator.

        Args:
            config: The dataclass that the class was registered with.
            context: What the task knows about the data.
        """

    @abstractmethod
    def forward(self, **inputs: Tensor) -> ModelOutput:
        """Runs the model on a batch's inputs."""

    def layers_to_shard(self) -> list[nn.Module]:
        """Returns submodules whose parameters can be gathered just before they run (FSDP).

        Every process must call each of them as often in a forward pass. Parameters that lie in
        none of them, and all where the list is empty, are gathered for the whole model at once.
        """
        return []

    def tensor_parallel_plan(self, size: int) -> dict[str, str]:
        """Returns how linear layers and embeddings are divided among processes.

        Args:
            size: How many processes.

        Returns:
            {name of a submodule: one of `seqtrain.distributed.tensor_parallel.KINDS`}; empty if the
            model cannot be divided that way.

        Raises:
            ConfigError: Settings of the model do not go with that.
        """
        return {}

    def vocabulary_rows(self) -> dict[str, str]:
        """Returns the parameters whose rows are symbols: {name: "source" or "target"}.

        When a run begins from another one's weights, these rows are matched by symbol.
        """
        return {}


class Decoding(ABC):
    """What a model keeps of the prefixes of some sentences while they are extended.

    Each sentence has `width` prefixes of one length; one only, until the first `step` after it was
    added.
    """

    takes_more: bool = True
    """Sentences can be added to others, and of other lengths."""

    @abstractmethod
    def add(self, memory: dict[str, Tensor], prefix: Tensor) -> ModelOutput:
        """Adds sentences behind those that are there, with one prefix each.

        Args:
            memory: From `encode`, one row for each; empty for a DecoderModel.
            prefix: Symbol ids from the beginning, eos first, int64 [new sentences, time].

        Returns:
            The output for every position of the prefix, [new sentences, time, dim].
        """

    @abstractmethod
    def step(self, symbols: Tensor, origins: Tensor) -> ModelOutput:
        """Extends prefixes by a symbol each.

        Args:
            symbols: int64 [sentences, width].
            origins: Which prefix of the same sentence each one extends, int64 [sentences, width].

        Returns:
            The output after the new prefixes, [sentences, width, dim].
        """

    @abstractmethod
    def select(self, positions: Tensor) -> None:
        """Keeps the sentences at these positions, in this order; int64 [sentences to keep]."""


class AutoregressiveModel(Model):
    """A model that writes a target sequence from left to right.

    `memory` and `state` are flat dictionaries of tensors whose first dimension is the row (a
    sentence, or one hypothesis of it), so that search selects, repeats and drops rows without
    knowing the model. Both are opaque to the caller.
    """

    max_target_positions: int = 0
    """Longest prefix that `decode` reads, in symbols; 0 for no limit."""

    @abstractmethod
    def decode(
        self, prefix: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor] | None
    ) -> tuple[ModelOutput, dict[str, Tensor]]:
        """Reads a prefix and returns the output for its positions that the state does not cover.

        Args:
            prefix: Symbol ids from the beginning, eos first, int64 [rows, time].
            memory: From `encode`, one row for each row of the prefix; empty for a DecoderModel.
            state: None to read the whole prefix; else the state of an earlier call whose prefix
                was this one without its last symbol.

        Returns:
            The output, [rows, new positions, dim], and the state after the whole prefix.
        """

    def decoding(self, width: int) -> Decoding | None:
        """Returns a faster way to extend prefixes than `decode` with reordered states, if any.

        Args:
            width: Prefixes of each sentence.
        """
        return None


class EncoderDecoderModel(AutoregressiveModel):
    """A model that writes a target, given a source."""

    @override
    def forward(  # type: ignore[override] # names the inputs that the base leaves open
        self, source_tokens: Tensor, prev_output_tokens: Tensor
    ) -> ModelOutput:
        """Returns the output for every position of the target at once.

        Args:
            source_tokens: Symbol ids, int64 [batch, source time], padded on the right.
            prev_output_tokens: The target after one eos, int64 [batch, time], padded on the right.
        """
        output, _ = self.decode(prev_output_tokens, self.encode(source_tokens), None)
        return output

    @abstractmethod
    def encode(self, source_tokens: Tensor) -> dict[str, Tensor]:
        """Returns the memory of a source.

        Args:
            source_tokens: Symbol ids, int64 [batch, time], padded on the right.
        """

    def attention(self, source_tokens: Tensor, prev_output_tokens: Tensor, layer: int) -> Tensor:
        """Returns how much each position of the target looks at each of the source.

        Args:
            source_tokens: As in `forward`.
            prev_output_tokens: As in `forward`.
            layer: Decoder layer, from 0, or from the last one, which is -1; models with attention
                in one place ignore it.

        Returns:
            Shares, [batch, time, source time]; 0 at padding of the source.

        Raises:
            ConfigError: The model has no attention to show, or no such layer.
        """
        raise ConfigError(
            f"generation.print_alignment: {type(self).__name__} has no attention to show. Leave it "
            "out."
        )


class DecoderModel(AutoregressiveModel):
    """A language model: each symbol given those before it."""

    @abstractmethod
    @override
    def forward(  # type: ignore[override] # names the inputs that the base leaves open
        self, prev_output_tokens: Tensor, document_ids: Tensor | None = None
    ) -> ModelOutput:
        """Returns the output for every position at once.

        Args:
            prev_output_tokens: The sequence moved one to the right, int64 [batch, time].
            document_ids: Where a row holds several documents, which one each position is of, int64
                [batch, time], counted from 0 within the row, -1 at padding: a position sees only
                its own document, whose positions are counted from 0. None for one a row.
        """


MODELS: Registry[Model] = Registry("model", Model)
register_model = MODELS.register

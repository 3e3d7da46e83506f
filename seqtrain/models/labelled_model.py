"""What models of labelled sequences have in common: vectors of positions in, classes out."""

from abc import abstractmethod
from typing import Any, Protocol, Self

from torch import Tensor, nn
from typing_extensions import override

from seqtrain.models.base import Model, ModelContext, ModelOutput
from seqtrain.models.labelled_inputs import InputVectors


class _Config(Protocol):
    dim: int


class LabelledModel(Model):
    """Base of models that tell the class of a sequence, or of each of its positions.

    Args:
        model: Its name, for messages.
        config: Of the model; `dim` is the width of embedded symbols.
        context: Knows num_classes, and what the inputs are.

    Attributes:
        inputs: Makes vectors of the inputs.
        per_position: Whether positions have classes, or else examples.
        output_layer: From features to logits of classes; the derived class makes it, last.
    """

    output_layer: nn.Linear

    def __init__(self, model: str, config: _Config, context: ModelContext) -> None:
        super().__init__()
        context.require(model, "num_classes")
        self.per_position = context.labels_per_position
        self.inputs = InputVectors(model, context, config.dim)

    @classmethod
    @override
    def from_config(cls, config: Any, context: ModelContext) -> Self:
        return cls(config, context)  # type: ignore[call-arg] # derived classes know their name

    @override
    def forward(  # type: ignore[override] # names the inputs that the base leaves open
        self, padding_mask: Tensor, values: Tensor | None = None, tokens: Tensor | None = None
    ) -> ModelOutput:
        """Returns features of examples, [batch, dim], or of positions, [batch, time, dim].

        Args:
            padding_mask: True at padding, bool [batch, time].
            values: [batch, time, channels], where inputs are numbers.
            tokens: int64 [batch, time], where inputs are symbols.
        """
        vectors = self.inputs(padding_mask, values, tokens)
        return ModelOutput(self.features(vectors, padding_mask), self.output_layer)

    @abstractmethod
    def features(self, vectors: Tensor, padding_mask: Tensor) -> Tensor:
        """Returns what the output layer takes.

        Args:
            vectors: [batch, time, width of `inputs`], zero at padding.
            padding_mask: True at padding, bool [batch, time].
        """

"""A model cut into graphs that run without this package, with examples of their inputs."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seqtrain.data.vocabulary import SPECIALS
from seqtrain.errors import ConfigError, NumericError
from seqtrain.models.base import AutoregressiveModel, EncoderDecoderModel, Model, ModelContext

Sizes = Mapping[str, int]
Named = dict[str, Tensor]

_SIZES = {"batch": 3, "source_length": 7, "target_length": 5, "past_length": 4, "length": 6,
          "height": 40, "width": 24}  # fmt: skip
"""Different from one another, and above 1: tracing takes a size of 1 for a constant."""
OTHER_SIZES = {"batch": 2, "source_length": 4, "target_length": 9, "past_length": 7, "length": 12,
               "height": 27, "width": 51}  # fmt: skip
SMALLEST = dict.fromkeys(_SIZES, 1) | {"height": 17, "width": 17}
MEMORY, PAST, PRESENT = "memory.", "past.", "present."
"""What names of tensors begin with: the source's, the state before a symbol, and behind it."""
_CACHED = "keys.0"
"""In the state of models made of attention, [batch, heads, past, head]."""
TOLERANCE = 1e-3
"""Of what a graph computes, relative to the largest value; a wrong graph is off by more."""


@dataclass(frozen=True)
class Graph:
    """One graph to be traced.

    Args:
        name: Of its file.
        module: Takes the inputs by position, and returns a tuple of the outputs.
        inputs: Makes examples of the inputs, by name in the order of their positions.
        outputs: Names of the outputs.
    """

    name: str
    module: nn.Module
    inputs: Callable[[Sizes], Named]
    outputs: list[str]

    def example(self, sizes: Sizes = _SIZES) -> Named:
        """Returns inputs of given sizes."""
        # torch.export.load fails on programs that were traced with gaps between rows.
        made = self.inputs(sizes)
        return {
            name: tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in made.items()
        }

    def axes(self) -> dict[str, dict[int, str]]:
        """Returns which dimensions of each input vary: {name: {dimension: size}}."""
        return _varying(self.inputs)

    def output_axes(self) -> dict[str, dict[int, str]]:
        """Returns the same of the outputs."""

        def outputs(sizes: Sizes) -> Named:
            with torch.no_grad():
                made = self.module(*self.inputs(sizes).values())
            return dict(zip(self.outputs, made, strict=True))

        return _varying(outputs)


def graphs_of(model: Model, context: ModelContext, name: str) -> list[Graph]:
    """Returns the graphs of a model in evaluation mode.

    The first, "model", is the whole forward: it scores given outputs, and is all that models need
    which write no sequence. With "encoder" and "decoder" a sequence is written symbol by symbol:
    the source is encoded once, and the decoder reads a prefix of any length. Where the model keeps
    keys and values, the decoder returns them, and "decoder_step" goes on from them by one symbol.

    Args:
        model: On the CPU.
        context: Of its task.
        name: Registered name, for messages.

    Raises:
        ConfigError: It reads inputs that are not known here.
    """
    is_pair = isinstance(model, EncoderDecoderModel)
    longest = getattr(model, "max_target_positions", 0) or context.max_source_positions
    maker = _Examples(context, is_pair, longest)
    names = _input_names(model, context, name)
    output = "forecast" if context.horizon else "logits"
    whole = Graph("model", _Whole(model, names), maker.of(names), [output])
    if not isinstance(model, AutoregressiveModel):
        return [whole]
    return [whole, *_writing(model, maker)]


def _writing(model: AutoregressiveModel, maker: "_Examples") -> list[Graph]:
    """Returns the graphs that write a sequence."""
    graphs = []
    sources, prefixes = maker.of(["source_tokens"]), maker.of(["prev_output_tokens"])
    past = maker.of(["past_tokens"])

    def memory(sizes: Sizes) -> Named:
        if not isinstance(model, EncoderDecoderModel):
            return {}
        with torch.no_grad():
            return _sorted(model.encode(sources(sizes)["source_tokens"]))

    def state(sizes: Sizes) -> Named:
        with torch.no_grad():
            return _sorted(model.decode(past(sizes)["past_tokens"], memory(sizes), None)[1])

    def before(sizes: Sizes) -> Named:
        return prefixes(sizes) | _named(MEMORY, memory(sizes))

    def between(sizes: Sizes) -> Named:
        symbol = before(sizes)["prev_output_tokens"][:, :1]
        known = _named(MEMORY, memory(sizes)) | _named(PAST, state(sizes))
        return {"prev_output_tokens": symbol} | known

    memory_names, state_names = list(memory(_SIZES)), list(state(_SIZES))
    if isinstance(model, EncoderDecoderModel):
        outputs = [MEMORY + name for name in memory_names]
        graphs.append(Graph("encoder", _Encoder(model, memory_names), sources, outputs))
    if _CACHED not in state_names:
        return [*graphs, Graph("decoder", _Decoder(model, memory_names, []), before, ["logits"])]
    outputs = ["logits", *(PRESENT + name for name in state_names)]
    decoder = _Decoder(model, memory_names, state_names)
    step = _DecoderStep(model, memory_names, state_names)
    return [
        *graphs,
        Graph("decoder", decoder, before, outputs),
        Graph("decoder_step", step, between, outputs),
    ]


def _sorted(tensors: Named) -> Named:
    return dict(sorted(tensors.items()))


def _named(prefix: str, tensors: Named) -> Named:
    return {prefix + name: tensor for name, tensor in tensors.items()}


class _Whole(nn.Module):
    """Inputs to logits (or values)."""

    def __init__(self, model: Model, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = list(names)

    @override
    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        return (self.model(**dict(zip(self.names, inputs, strict=True))).logits,)


class _Encoder(nn.Module):
    """A source to its memory."""

    def __init__(self, model: EncoderDecoderModel, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = list(names)

    @override
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        memory = self.model.encode(*inputs)
        return tuple(memory[name] for name in self.names)


class _Decoder(nn.Module):
    """A prefix and the memory of a source to logits, and the state behind the prefix."""

    def __init__(
        self, model: AutoregressiveModel, memory_names: list[str], state_names: list[str]
    ) -> None:
        super().__init__()
        self.model = model
        self.memory_names = memory_names
        self.state_names = state_names

    @override
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        memory = dict(zip(self.memory_names, inputs[1:], strict=True))
        output, state = self.model.decode(inputs[0], memory, None)
        return (output.logits, *(state[name] for name in self.state_names))


class _DecoderStep(_Decoder):
    """One symbol, the memory of a source and the state before the symbol to the same."""

    @override
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        num_memory = 1 + len(self.memory_names)
        memory = dict(zip(self.memory_names, inputs[1:num_memory], strict=True))
        state = dict(zip(self.state_names, inputs[num_memory:], strict=True))
        # Of the earlier symbols only their number counts.
        prefix = F.pad(inputs[0], (state[_CACHED].size(2), 0))
        output, state = self.model.decode(prefix, memory, state)
        return (output.logits, *(state[name] for name in self.state_names))


def _input_names(model: Model, context: ModelContext, name: str) -> list[str]:
    """Returns the inputs that a batch of the task holds, in the order of the model's forward."""
    there = {
        "source_tokens": bool(context.source_vocab_size),
        "prev_output_tokens": bool(context.target_vocab_size),
        "tokens": bool(context.source_vocab_size) and not context.num_channels,
        "values": bool(context.num_channels),
        "time_features": bool(context.num_time_features),
        "padding_mask": True,
    }
    names = []
    for parameter in inspect.signature(model.forward).parameters.values():
        if there.get(parameter.name):
            names.append(parameter.name)
        elif parameter.default is parameter.empty:
            raise ConfigError(
                f"model={name} reads {parameter.name!r}, which an export does not know. Use "
                "format=safetensors."
            )
    return names


class _Examples:
    """Makes inputs: symbols and numbers drawn with a seed of their own, without padding.

    Args:
        context: Of the task.
        is_pair: There are sources and targets, of different lengths.
        longest: Sequence that the model reads; 0 for no limit.
    """

    def __init__(self, context: ModelContext, is_pair: bool, longest: int) -> None:
        self.context = context
        self.is_pair = is_pair
        self.longest = longest

    def of(self, names: Sequence[str]) -> Callable[[Sizes], Named]:
        """Returns what makes the inputs of these names."""

        def make(sizes: Sizes) -> Named:
            draw = torch.Generator().manual_seed(1)
            return {name: self._make(name, sizes, draw) for name in names}

        return make

    def _make(self, name: str, sizes: Sizes, draw: torch.Generator) -> Tensor:
        shape = (sizes["batch"], *self._positions(name, sizes))
        if name == "padding_mask":
            return torch.zeros(shape, dtype=torch.bool)
        if name == "values":
            return torch.randn(*shape, self.context.num_channels, generator=draw)
        if name == "time_features":
            return torch.randn(*shape, self.context.num_time_features, generator=draw)
        is_target = name in ("prev_output_tokens", "past_tokens")
        size = self.context.target_vocab_size if is_target else self.context.source_vocab_size
        # No specials: padding would be hidden, and what stands in its place means nothing.
        return torch.randint(min(len(SPECIALS), size - 1), size, shape, generator=draw)

    def _positions(self, name: str, sizes: Sizes) -> list[int]:
        context = self.context
        if context.horizon:
            more = context.horizon if name == "time_features" else 0
            return [context.look_back + more]
        if name == "past_tokens":
            lengths = ["past_length"]
        elif self.is_pair:
            lengths = ["target_length" if name == "prev_output_tokens" else "source_length"]
        else:
            lengths = ["height", "width"] if context.position_rank == 2 else ["length"]
        longest = self.longest or max(sizes.values())
        return [min(sizes[length], longest) for length in lengths]


def _varying(make: Callable[[Sizes], Named]) -> dict[str, dict[int, str]]:
    """Returns which dimensions change with which size."""
    before = make(_SIZES)
    axes: dict[str, dict[int, str]] = {name: {} for name in before}
    for size in _SIZES:
        after = make(_SIZES | {size: _SIZES[size] + 1})
        for name, tensor in after.items():
            for dim, (new, old) in enumerate(zip(tensor.shape, before[name].shape, strict=True)):
                if new != old:
                    axes[name][dim] = size
    return axes


def require_same(graph: Graph, run: Callable[[Named], Sequence[Tensor]], what: str) -> None:
    """Compares what was made of a graph with it, at sizes that it was not traced at.

    Args:
        graph: The graph.
        run: Inputs by name to outputs.
        what: The format, for messages.

    Raises:
        NumericError: They differ by more than TOLERANCE.
    """
    for sizes in (OTHER_SIZES, SMALLEST):
        inputs = graph.example(sizes)
        with torch.no_grad():
            expected = graph.module(*inputs.values())
            found = run(inputs)
        for name, own, other in zip(graph.outputs, expected, found, strict=True):
            scale = own.double().abs().max().clamp(min=1.0)
            difference = float((own.double() - other.double()).abs().max() / scale)
            if not difference <= TOLERANCE:
                raise NumericError(
                    f"format={what}: {name} of the {graph.name} differs by {difference:.1e} from "
                    f"the model's. Use format=safetensors, and report the model's section."
                )


def describe(graph: Graph) -> dict[str, Any]:
    """Returns names, types and shapes of a graph's inputs and outputs, as plain values."""
    inputs = graph.example()
    with torch.no_grad():
        outputs = dict(zip(graph.outputs, graph.module(*inputs.values()), strict=True))
    return {
        "inputs": _shapes(inputs, graph.axes()),
        "outputs": _shapes(outputs, graph.output_axes()),
    }


def _shapes(tensors: Named, axes: Mapping[str, Mapping[int, str]]) -> dict[str, Any]:
    return {
        name: {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": [_size(axes[name].get(dim), size) for dim, size in enumerate(tensor.shape)],
        }
        for name, tensor in tensors.items()
    }


def _size(name: str | None, size: int) -> str | int:
    if name is None:
        return size
    more = size - _SIZES[name]
    return f"{name} + {more}" if more > 0 else name

"""Classes, symbols and scale, learnt from training examples, and how examples become numbers."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from seqtrain.data.labelled.files import RawExample
from seqtrain.data.labelled.settings import LabelledSettings
from seqtrain.data.labelled.store import IGNORED, Example
from seqtrain.data.side import Side
from seqtrain.data.tokenizers.base import TOKENIZERS
from seqtrain.data.tokenizers.pieces import PiecesConfig, PiecesTokenizer
from seqtrain.data.vocabulary import Vocabulary
from seqtrain.errors import CheckpointError, DataError

VALUES, TOKENS = "values", "tokens"
IntArray = npt.NDArray[np.int64]
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


@dataclass(frozen=True, kw_only=True)
class LabelledInfo:
    """What is needed to use a model without the data."""

    kind: str
    """VALUES or TOKENS."""
    rank: int
    """Dimensions of positions: 1 for a sequence, 2 for an image."""
    num_channels: int
    """Numbers at each position; 0 for tokens."""
    per_position: bool
    """There is a label for each position."""
    classes: list[str]
    """Names in the order of their ids."""
    ignore_label: str
    """With labels for positions, the name that does not count."""
    mean: list[float]
    """Subtracted from each channel; empty for tokens and without a scale."""
    std: list[float]
    """Divides each channel after that."""
    side: Side | None
    """Tokenizer and vocabulary of tokens."""
    max_shape: list[int] = field(default_factory=list)
    """Longest time, or height and width, of the examples of all splits."""

    @property
    def max_positions(self) -> int:
        """Positions of an example of the largest shape."""
        return math.prod(self.max_shape)

    def state_dict(self) -> dict[str, Any]:
        """Returns plain values and tensors for a checkpoint."""
        return {
            "kind": self.kind,
            "rank": self.rank,
            "num_channels": self.num_channels,
            "per_position": self.per_position,
            "classes": list(self.classes),
            "ignore_label": self.ignore_label,
            "mean": list(self.mean),
            "std": list(self.std),
            "side": self.side.state_dict() if self.side else {},
            "max_shape": list(self.max_shape),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], side: Side | None = None) -> Self:
        """Returns what `state_dict` saved. The state is untrusted.

        Args:
            state: The plain values.
            side: Taken instead of the state's.
        """
        try:
            if side is None and state["side"]:
                side = Side.from_state(state["side"])
            return cls(
                kind=_one_of(state["kind"], (VALUES, TOKENS)),
                rank=_one_of(state["rank"], (1, 2)),
                num_channels=int(state["num_channels"]),
                per_position=bool(state["per_position"]),
                classes=[str(name) for name in state["classes"]],
                ignore_label=str(state["ignore_label"]),
                mean=[float(value) for value in state["mean"]],
                std=[float(value) for value in state["std"]],
                side=side,
                max_shape=[int(size) for size in state["max_shape"]],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"What is saved of the labelled data is damaged: {error!r}. Use another checkpoint."
            ) from error

    def encode(self, raw: RawExample) -> Example:
        """Returns an example as numbers: scaled values or symbol ids, and ids of classes.

        Raises:
            DataError: It is of another kind or shape than the training examples, or has a label
                that these do not have.
        """
        if (raw.values is None) != (self.kind == TOKENS):
            raise DataError(f"{raw.place}: the training examples are {self.kind}, this is not.")
        inputs: npt.NDArray[Any]
        if raw.values is not None:
            inputs = self.scaled(raw.values, raw.place)
            positions = inputs.shape[:-1]
        else:
            if self.side is None:
                raise CheckpointError("The saved data has tokens and no vocabulary.")
            inputs = self.side.vocabulary.encode(pieces_of(raw, self.side))
            positions = inputs.shape
        if 0 in positions:
            raise DataError(f"{raw.place}: no tokens. Remove the example.")
        return Example(inputs, self._classes_of(raw, positions))

    def scaled(self, values: npt.NDArray[np.float32], place: str) -> npt.NDArray[np.float32]:
        """Returns values [*positions, channels] on the scale of the model."""
        if values.ndim == self.rank and self.rank == 2 and self.num_channels == 1:
            values = values[..., None]  # a grey image
        if values.ndim != 1 + self.rank or values.shape[-1] != self.num_channels:
            expected = ["height", "width"] if self.rank == 2 else ["time"]
            raise DataError(
                f"{place}: values of shape {list(values.shape)}, expected is "
                f"[{', '.join(expected)}, {self.num_channels}], as the training examples have."
            )
        if not self.mean:
            return values
        scaled = (values - np.array(self.mean)) / np.array(self.std)
        return scaled.astype(np.float32)

    def _classes_of(self, raw: RawExample, positions: tuple[int, ...]) -> IntArray:
        shape = positions if self.per_position else ()
        if raw.labels is None:
            return np.full(shape, IGNORED, dtype=np.int64)
        if raw.labels.shape != shape:
            wanted = f"labels of shape {list(shape)}" if self.per_position else "one label"
            raise DataError(
                f"{raw.place}: labels of shape {list(raw.labels.shape)}, the example needs "
                f"{wanted}. Correct it, or choose the task for such labels."
            )
        names, codes = label_names(raw.labels)
        ids = [self._class_id(name, raw.place) for name in names]
        return np.array(ids, dtype=np.int64)[codes].reshape(shape)

    def _class_id(self, name: str | None, place: str) -> int:
        if self.per_position and (name is None or name == self.ignore_label):
            return IGNORED
        if name is None:
            raise DataError(f"{place}: the label is null. Remove the example.")
        try:
            return self.classes.index(name)
        except ValueError:
            raise DataError(
                f"{place}: the label {name!r} is not one of the training examples: "
                f"{_listed(self.classes)}. Correct it, or name all with task.classes."
            ) from None


def learn_info(
    settings: LabelledSettings, read: Callable[[], Iterable[RawExample]]
) -> LabelledInfo:
    """Learns classes, symbols and scale from the training examples.

    Args:
        settings: What to learn.
        read: Gives the training examples, at each call anew.

    Raises:
        DataError: There is none, or they cannot be used.
    """
    classes: set[str] = set(settings.classes)
    moments, first = _Moments(), None
    for raw in read():
        first = first or raw
        if raw.labels is None:
            raise DataError(f"{raw.place}: no label. Every training example needs one.")
        classes |= {
            name
            for name in label_names(raw.labels)[0]
            if name is not None and not (settings.per_position and name == settings.ignore_label)
        }
        if raw.values is not None and settings.scale == "standard":
            moments.add(raw.values, raw.place)
    if first is None:
        raise DataError(f"{settings.files['train']}: no examples. Give at least one.")
    extra = classes - set(settings.classes)
    if settings.classes and extra:
        raise DataError(
            f"{settings.files['train']}: holds the labels {_listed(sorted(extra))}, which "
            "task.classes does not name."
        )
    side = None if first.values is not None else _learn_side(settings, read)
    shape = () if first.values is None else first.values.shape
    mean, std = moments.scale()
    return LabelledInfo(
        kind=TOKENS if side else VALUES,
        rank=max(len(shape) - 1, 1),
        num_channels=shape[-1] if shape else 0,
        per_position=settings.per_position,
        classes=settings.classes or in_order(classes),
        ignore_label=settings.ignore_label,
        mean=mean,
        std=std,
        side=side,
    )


def label_names(labels: npt.NDArray[Any]) -> tuple[list[str | None], IntArray]:
    """Returns the different labels as names (None for null), and the index of each one's name."""
    if labels.dtype == object:
        flat = labels.reshape(-1).tolist()
        codes: dict[str | None, int] = {}
        indices = [codes.setdefault(_name(label), len(codes)) for label in flat]
        return list(codes), np.array(indices, dtype=np.int64)
    found, inverse = np.unique(labels.reshape(-1), return_inverse=True)
    return [_name(label) for label in found.tolist()], inverse.reshape(-1)


def in_order(classes: Iterable[str]) -> list[str]:
    """Returns names in order: as numbers if all are, else as text."""
    try:
        return sorted(classes, key=int)
    except ValueError:
        return sorted(classes)


def pieces_of(raw: RawExample, side: Side) -> list[str]:
    """Returns the symbols of an example, as the vocabulary spells them."""
    if raw.tokens is not None:
        return [token.translate(_ESCAPES) for token in raw.tokens]
    return side.tokenizer.encode(raw.text or "")


def _learn_side(settings: LabelledSettings, read: Callable[[], Iterable[RawExample]]) -> Side:
    tokenizer = TOKENIZERS.get(settings.tokenizer.name).cls(settings.tokenizer)
    if next(iter(read())).text is None:
        tokenizer = PiecesTokenizer(PiecesConfig(name="pieces"))
    else:
        tokenizer.train(raw.text for raw in read() if raw.text is not None)
    counts: Counter[str] = Counter()
    unlearnt = Side(tokenizer, Vocabulary())
    for raw in read():
        counts.update(pieces_of(raw, unlearnt))
    size = settings.tokenizer.vocab_size
    return Side(tokenizer, Vocabulary.from_counts(counts, settings.min_count, size))


class _Moments:
    """Mean and spread of each channel over all positions, merged example by example."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = np.zeros(0)

    def add(self, values: npt.NDArray[np.float32], place: str) -> None:
        flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
        if not self.count:
            self.mean = self.squares = np.zeros(flat.shape[1])
        elif flat.shape[1] != len(self.mean):
            raise DataError(
                f"{place}: {flat.shape[1]} channels, the first example has {len(self.mean)}."
            )
        # Chan et al. (1979): exact where sums of squares would cancel.
        mean, total = flat.mean(axis=0), self.count + len(flat)
        apart = mean - self.mean
        self.squares = self.squares + ((flat - mean) ** 2).sum(axis=0)
        self.squares += apart**2 * (self.count * len(flat) / total)
        self.mean = self.mean + apart * (len(flat) / total)
        self.count = total

    def scale(self) -> tuple[list[float], list[float]]:
        if not self.count:
            return [], []
        std = np.sqrt(self.squares / self.count)
        return self.mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def _name(label: Any) -> str | None:
    if label is None:
        return None
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def _listed(names: list[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"{value!r} is not one of {choices}")
    return value

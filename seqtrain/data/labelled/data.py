"""Labelled examples as a folder, or in memory: prepared once, opened by every run."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seqtrain.data.labelled.files import raw_example, read_examples
from seqtrain.data.labelled.info import TOKENS, VALUES, LabelledInfo, learn_info
from seqtrain.data.labelled.settings import TRAIN, LabelledSettings
from seqtrain.data.labelled.store import Example, LabelledStore
from seqtrain.data.labelled.values import ValueMeta, ValueStore, ValueStoreWriter
from seqtrain.data.prepared_folder import building_folder, damaged, read_card, write_card
from seqtrain.data.side import Side
from seqtrain.data.text.byte_streams import open_stream
from seqtrain.data.token_store import TokenStore, TokenStoreWriter
from seqtrain.data.tokenizers.files import load_tokenizer, save_tokenizer
from seqtrain.data.vocabulary import Vocabulary
from seqtrain.errors import DataError

KIND = "seqtrain labelled sequences"
VERSION = 1
TOKENIZER, VOCABULARY = "tokenizer.json", "dict.txt"


@dataclass(frozen=True)
class LabelledData:
    """Encoded labelled examples."""

    info: LabelledInfo
    stores: dict[str, LabelledStore]

    def splits(self) -> list[str]:
        """Returns the names of the splits."""
        return list(self.stores)

    def store(self, split: str) -> LabelledStore:
        """Returns one split."""
        if split not in self.stores:
            raise DataError(f"There is no {split!r} here. There are: {', '.join(self.stores)}.")
        return self.stores[split]

    def lines(self) -> list[str]:
        """Returns what there is, for people."""
        info, text = self.info, []
        for split, store in self.stores.items():
            sizes = store.shapes.prod(axis=1, dtype=np.int64) if len(store) else np.zeros(1, int)
            least, most = int(sizes.min()), int(sizes.max())
            span = f"{most}" if least == most else f"{least} to {most}"
            text.append(f"{split}: {len(store)} examples of {span} positions")
        what = f"{info.num_channels} channels"
        if info.side:
            what = f"{len(info.side.vocabulary)} symbols"
        shown = ", ".join(info.classes[:10]) + (", ..." if len(info.classes) > 10 else "")
        each = "position" if info.per_position else "example"
        return [*text, f"{what}; {len(info.classes)} classes, one each {each}: {shown}"]


def prepare_labelled(settings: LabelledSettings, out: Path) -> list[str]:
    """Encodes every split and writes a folder, which appears when it is complete.

    Returns:
        What it holds, in lines for people.

    Raises:
        DataError: An example cannot be used; the message names file and place.
        ConfigError: `out` holds something else.
        MachineError: The folder cannot be written.
    """
    with building_folder(out, KIND) as folder:
        info = _learn(settings)
        entries = {
            split: _write_split(folder / split, info, _examples(settings, info, split))
            for split in settings.files
        }
        info = replace(info, max_shape=_largest([e["max_shape"] for e in entries.values()]))
        state = info.state_dict()
        state.pop("side")
        if info.side:
            save_tokenizer(info.side.tokenizer, folder / TOKENIZER)
            info.side.vocabulary.save(folder / VOCABULARY)
            state["vocabulary_fingerprint"] = info.side.vocabulary.fingerprint
        raw = {
            split: {"file": str(path), "sha256": _sha256(path)}
            for split, path in settings.files.items()
        }
        card = {"info": state, "splits": entries, "raw_files": raw}
        write_card(folder, KIND, VERSION, card)
        lines = open_labelled(folder).lines()
    return [*lines, f"written to {out}"]


def open_labelled(path: Path) -> LabelledData:
    """Opens a folder that `prepare_labelled` wrote.

    Raises:
        DataError: It is not such a folder, or a file in it is damaged or was exchanged.
    """
    card = read_card(path, KIND, VERSION)
    try:
        state, entries = dict(card["info"]), dict(card["splits"])
        side = _open_side(path, state) if state["kind"] == TOKENS else None
        info = LabelledInfo.from_state(state | {"side": {}}, side)
        stores = {split: _open_split(path / split, info, entry) for split, entry in entries.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(path / "card.json", f"a field is missing or wrong: {error!r}") from error
    return LabelledData(info, stores)


def is_labelled_folder(path: Path) -> bool:
    """Says whether a folder has the card of labelled sequences."""
    try:
        read_card(path, KIND, VERSION)
    except DataError:
        return False
    return True


def load_raw_labelled(settings: LabelledSettings) -> LabelledData:
    """Encodes every split in memory."""
    info = _learn(settings)
    stores = {
        split: _in_memory(info, list(_examples(settings, info, split))) for split in settings.files
    }
    shapes = [store.shapes.max(axis=0).tolist() for store in stores.values() if len(store)]
    return LabelledData(replace(info, max_shape=_largest(shapes)), stores)


def encode_inputs(info: LabelledInfo, rows: Sequence[Any]) -> LabelledStore:
    """Returns rows of plain values, as JSON lines have them, as examples to predict.

    Args:
        info: Of the training data.
        rows: Objects with values, tokens or text; or those alone: an array, a text.

    Raises:
        DataError: A row does not fit the training data; the message names it.
    """
    field = VALUES if info.kind == VALUES else "text"
    records = [row if isinstance(row, Mapping) else {field: row} for row in rows]
    examples = []
    for index, record in enumerate(records):
        unlabelled = {k: v for k, v in record.items() if k in ("values", "tokens", "text")}
        examples.append(info.encode(raw_example(unlabelled, f"input {index}")))
    return _in_memory(info, examples, with_labels=False)


def _learn(settings: LabelledSettings) -> LabelledInfo:
    location, per_position = settings.files[TRAIN], settings.per_position
    return learn_info(settings, lambda: read_examples(location, per_position))


def _examples(settings: LabelledSettings, info: LabelledInfo, split: str) -> Iterator[Example]:
    for raw in read_examples(settings.files[split], settings.per_position):
        if raw.labels is None:
            raise DataError(f"{raw.place}: no label. Every example of a split needs one.")
        yield info.encode(raw)


def _write_split(prefix: Path, info: LabelledInfo, examples: Iterator[Example]) -> dict[str, Any]:
    count = 0
    max_shape = [0] * info.rank
    labels = TokenStoreWriter(Path(f"{prefix}.labels"), len(info.classes) + 1)
    entry: dict[str, Any] = {}
    with labels, _input_writer(prefix, info) as inputs:
        for example in examples:
            inputs.append(example.inputs)
            labels.append(example.labels.reshape(-1) + 1)
            count += 1
            max_shape = _largest([max_shape, list(example.inputs.shape[: info.rank])])
        if isinstance(inputs, ValueStoreWriter):
            entry["values"] = asdict(inputs.close())
    stored = TokenStore(Path(f"{prefix}.labels"))
    entry |= {"num_examples": count, "max_shape": max_shape, "labels": stored.fingerprint}
    if info.kind == TOKENS:
        entry["inputs"] = TokenStore(Path(f"{prefix}.inputs")).fingerprint
    return entry


def _input_writer(prefix: Path, info: LabelledInfo) -> ValueStoreWriter | TokenStoreWriter:
    if info.side:
        return TokenStoreWriter(Path(f"{prefix}.inputs"), len(info.side.vocabulary))
    return ValueStoreWriter(Path(f"{prefix}.inputs"), info.rank, info.num_channels)


def _open_split(prefix: Path, info: LabelledInfo, entry: Mapping[str, Any]) -> LabelledStore:
    labels = TokenStore(Path(f"{prefix}.labels"))
    _same(Path(f"{prefix}.labels.index"), labels.fingerprint, entry["labels"])
    inputs: ValueStore | TokenStore
    if info.kind == TOKENS:
        inputs = TokenStore(Path(f"{prefix}.inputs"))
        _same(Path(f"{prefix}.inputs.index"), inputs.fingerprint, entry["inputs"])
    else:
        inputs = ValueStore(Path(f"{prefix}.inputs"), ValueMeta(**entry["values"]))
    return LabelledStore(inputs, labels, info.per_position)


def _open_side(path: Path, state: Mapping[str, Any]) -> Side:
    side = Side(load_tokenizer(path / TOKENIZER), Vocabulary.load(path / VOCABULARY))
    _same(path / VOCABULARY, side.vocabulary.fingerprint, state["vocabulary_fingerprint"])
    return side


def _in_memory(
    info: LabelledInfo, examples: Sequence[Example], with_labels: bool = True
) -> LabelledStore:
    inputs: ValueStore | TokenStore
    if info.side:
        arrays = [example.inputs.astype(np.int64) for example in examples]
        inputs = TokenStore.from_sequences(arrays, len(info.side.vocabulary))
    else:
        floats = [example.inputs.astype(np.float32) for example in examples]
        inputs = ValueStore.from_arrays(floats, info.rank, info.num_channels)
    labels = None
    if with_labels:
        ids = [example.labels.reshape(-1) + 1 for example in examples]
        labels = TokenStore.from_sequences(ids, len(info.classes) + 1)
    return LabelledStore(inputs, labels, info.per_position)


def _largest(shapes: Sequence[Sequence[int]]) -> list[int]:
    return [max(sizes) for sizes in zip(*shapes, strict=True)]


def _same(path: Path, found: str, expected: object) -> None:
    if found != expected:
        raise damaged(path, f"its fingerprint is {found}, expected is {expected}")


def _sha256(location: Any) -> str:
    digest = hashlib.sha256()
    with open_stream(location) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

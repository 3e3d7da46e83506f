"""Plain text by path: a prepared folder, a `data-bin` folder of fairseq, or several of them."""

from pathlib import Path

import numpy as np

from seqtrain.data.array_file import ArrayFile
from seqtrain.data.prepared_folder import CARD, read_card
from seqtrain.data.sequence_store import NUM_LENGTHS_AT_ONCE, SequenceStore
from seqtrain.data.text.fairseq_data import (
    fairseq_side,
    open_shards,
    shards_by_split,
    split_paths,
)
from seqtrain.data.text.monolingual_data import TextCounts, TextData, join_text
from seqtrain.data.text.monolingual_preprocess import KIND, VERSION, VOCABULARY, open_prepared_text
from seqtrain.data.tokenizers.base import TokenizerConfig
from seqtrain.errors import DataError


def is_text_folder(path: str | Path) -> bool:
    """Says whether a path, or the first of several, is a folder of plain text."""
    first = split_paths(path)[0]
    return _is_fairseq(first) or _is_prepared(first)


def open_text(path: str | Path, tokenizer: TokenizerConfig | None = None) -> TextData:
    """Opens plain text that was prepared by seqtrain-preprocess or fairseq-preprocess.

    Args:
        path: The folder; or several as a:b:c, whose training texts are one corpus. Evaluation
            has those of the first folder that has the split.
        tokenizer: For a folder of fairseq, how raw lines become pieces; None for text that is
            cut into pieces already, joined as the marks of the vocabulary tell.

    Raises:
        DataError: A folder is missing, damaged or of another kind, or vocabularies differ.
    """
    parts = []
    for each in split_paths(path):
        if _is_fairseq(each):
            parts.append(_open_fairseq(each, tokenizer))
        else:
            parts.append(open_prepared_text(each))
    return parts[0] if len(parts) == 1 else join_text(parts)


def _is_prepared(path: Path) -> bool:
    try:
        return bool(read_card(path, KIND, VERSION))
    except DataError:
        return False


def _is_fairseq(path: Path) -> bool:
    if (path / CARD).exists() or not (path / VOCABULARY).exists():
        return False
    return any("." not in index.stem for index in path.glob("*.idx"))


def _open_fairseq(path: Path, tokenizer: TokenizerConfig | None) -> TextData:
    side = fairseq_side(path / VOCABULARY, tokenizer)
    names = [index.stem for index in path.glob("*.idx") if "." not in index.stem]
    stores = {
        split: open_shards([path / name for name in shards], len(side.vocabulary))
        for split, shards in shards_by_split(names).items()
    }
    documents = {split: _after_blank_lines(store) for split, store in stores.items()}
    counts = {
        split: TextCounts(len(store), len(documents[split]) - 1, store.num_tokens, None, None, None)
        for split, store in stores.items()
    }
    return TextData(side, stores, dict(documents), counts)


def _after_blank_lines(store: SequenceStore) -> ArrayFile:
    """Returns where documents begin: with the first line after empty ones."""
    starts = [np.zeros(min(len(store), 1), dtype=np.int64)]
    was_empty = False
    for begin in range(0, len(store), NUM_LENGTHS_AT_ONCE):
        end = min(begin + NUM_LENGTHS_AT_ONCE, len(store))
        is_empty = store.lengths_at(np.arange(begin, end)) == 0
        is_start = ~is_empty & np.concatenate([[was_empty], is_empty[:-1]])
        starts.append(begin + np.flatnonzero(is_start))
        was_empty = bool(is_empty[-1])
    return ArrayFile.in_memory(np.unique(np.concatenate([*starts, [len(store)]])))

"""A `data-bin` folder of fairseq-preprocess, read as it is."""

import re
from dataclasses import replace
from pathlib import Path

from seqtrain.data.fairseq_store import FairseqStore
from seqtrain.data.joined_store import JoinedStore
from seqtrain.data.parallel_data import ParallelData, SideCounts, SplitCounts, Stores
from seqtrain.data.parallel_text import TRAIN
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.side import Side
from seqtrain.data.tokenizers.base import TOKENIZERS, TokenizerConfig
from seqtrain.data.tokenizers.pieces import PiecesConfig, guess_join
from seqtrain.data.vocabulary import Vocabulary
from seqtrain.errors import ConfigError, DataError

INDEX_NAME = re.compile(
    r"(?P<split>[^.]+)\.(?P<first>[^.-]+)-(?P<second>[^.-]+)\.(?P<language>[^.]+)\.idx"
)
TRAIN_SHARD = re.compile(r"train(\d+)")


def is_fairseq_folder(path: Path) -> bool:
    """Says whether a folder holds sentence pairs of fairseq-preprocess."""
    return path.is_dir() and any(_index_files(path))


def open_fairseq(
    path: Path,
    languages: tuple[str, str] = ("", ""),
    tokenizers: tuple[TokenizerConfig, TokenizerConfig] | None = None,
) -> ParallelData:
    """Opens a folder that fairseq-preprocess wrote, with ids as they are in the files.

    The train shards `train1`, `train2`, ... belong to the split train. The folder has no raw text:
    references are the texts that the target ids spell.

    Args:
        path: The folder.
        languages: Source and target; empty to take those that the files are named after.
        tokenizers: How raw lines become pieces of the two vocabularies, and pieces text; None for
            text that is cut into pieces already, joined as the marks of the vocabulary tell.

    Raises:
        DataError: A file is missing, damaged or not of this kind.
        ConfigError: The folder has another pair of languages.
    """
    files = _index_files(path)
    pair, languages = _choose_pair(path, files, languages)
    sides = _open_sides(path, languages, tokenizers)
    prefixes = sorted(
        {match["split"] for match in files if f"{match['first']}-{match['second']}" == pair},
        key=_shard_number,
    )
    stores: dict[str, Stores] = {}
    for split in dict.fromkeys(_split_of(prefix) for prefix in prefixes):
        shards = [prefix for prefix in prefixes if _split_of(prefix) == split]
        source, target = (
            _open_shards(path, [f"{shard}.{pair}.{language}" for shard in shards], side)
            for language, side in zip(languages, sides, strict=True)
        )
        if len(source) != len(target):
            raise DataError(
                f"{path}: the split {split} has {len(source)} sentences in {languages[0]} and "
                f"{len(target)} in {languages[1]}. Run fairseq-preprocess again."
            )
        stores[split] = (source, target)
    counts = {split: _counts(pair_of_stores) for split, pair_of_stores in stores.items()}
    joined = sides[0].vocabulary.symbols == sides[1].vocabulary.symbols
    if joined and tokenizers is None:
        sides = (sides[0], sides[0])
    return ParallelData(languages, *sides, joined, stores, {}, counts)


def _index_files(path: Path) -> list[re.Match[str]]:
    """Returns the names of the index files of one side of sentence pairs."""
    found = [INDEX_NAME.fullmatch(each.name) for each in sorted(path.glob("*.idx"))]
    return [
        match
        for match in found
        if match is not None and match["language"] in (match["first"], match["second"])
    ]


def _choose_pair(
    path: Path, files: list[re.Match[str]], languages: tuple[str, str]
) -> tuple[str, tuple[str, str]]:
    """Returns the pair that files are named after, and the source and target language."""
    pairs = sorted({(match["first"], match["second"]) for match in files})
    if not pairs:
        raise DataError(
            f"{path}: no files like train.en-de.en.idx. Name a folder of fairseq-preprocess."
        )
    wanted = {language for language in languages if language}
    fitting = [pair for pair in pairs if wanted <= set(pair)]
    named = ", ".join("-".join(pair) for pair in pairs)
    if len(fitting) != 1:
        raise ConfigError(
            f"{path} holds {named}. Set task.source and task.target to one of these pairs, in "
            f"either direction; they are {languages[0]!r} and {languages[1]!r}."
        )
    first, second = fitting[0]
    backwards = languages[0] == second or languages[1] == first
    return f"{first}-{second}", (second, first) if backwards else (first, second)


def _open_sides(
    path: Path,
    languages: tuple[str, str],
    tokenizers: tuple[TokenizerConfig, TokenizerConfig] | None,
) -> tuple[Side, Side]:
    sides = []
    for place, language in enumerate(languages):
        vocabulary = Vocabulary.load(path / f"dict.{language}.txt")
        config: TokenizerConfig = PiecesConfig(name="pieces", join=guess_join(vocabulary.symbols))
        if tokenizers is not None:
            config = replace(tokenizers[place])
        tokenizer = TOKENIZERS.get(config.name).cls(config)
        tokenizer.train(())
        sides.append(Side(tokenizer, vocabulary))
    return sides[0], sides[1]


def _split_of(prefix: str) -> str:
    return TRAIN if TRAIN_SHARD.fullmatch(prefix) else prefix


def _shard_number(prefix: str) -> tuple[str, int]:
    match = TRAIN_SHARD.fullmatch(prefix)
    return (TRAIN, int(match[1])) if match else (prefix, -1)


def _open_shards(path: Path, names: list[str], side: Side) -> SequenceStore:
    stores = [FairseqStore(path / name, len(side.vocabulary)) for name in names]
    return stores[0] if len(stores) == 1 else JoinedStore(stores)


def _counts(stores: Stores) -> SplitCounts:
    source, target = (SideCounts(store.num_tokens, None) for store in stores)
    return SplitCounts(len(stores[0]), 0, source, target)

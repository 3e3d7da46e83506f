"""A `data-bin` folder of fairseq-preprocess, read as it is."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from seqtrain.data.joined_store import JoinedStore
from seqtrain.data.sequence_store import SequenceStore
from seqtrain.data.side import Side
from seqtrain.data.text.corpus import TRAIN
from seqtrain.data.text.fairseq_store import FairseqStore
from seqtrain.data.text.parallel_data import ParallelData, SideCounts, SplitCounts, Stores
from seqtrain.data.tokenizers.base import TOKENIZERS, TokenizerConfig
from seqtrain.data.tokenizers.pieces import PiecesConfig, guess_join
from seqtrain.data.vocabulary import Vocabulary
from seqtrain.errors import ConfigError, DataError

INDEX_NAME = re.compile(
    r"(?P<split>[^.]+)\.(?P<first>[^.-]+)-(?P<second>[^.-]+)\.(?P<language>[^.]+)\.idx"
)
TRAIN_SHARD = re.compile(r"train(\d+)")


def is_fairseq_folder(path: Path) -> bool:
    """Says whether a folder, or the first of a:b, has sentence pairs of fairseq-preprocess."""
    first = split_paths(path)[0]
    return first.is_dir() and any(_index_files(first))


def open_fairseq(
    path: Path,
    languages: tuple[str, str] = ("", ""),
    tokenizers: tuple[TokenizerConfig, TokenizerConfig] | None = None,
) -> ParallelData:
    """Opens a folder that fairseq-preprocess wrote, with ids as they are in the files.

    The train shards `train1`, `train2`, ... belong to the split train. The folder has no raw text:
    references are the texts that the target ids spell.

    Args:
        path: The folder; or several as a:b:c, whose training text is one corpus. Each other
            split is that of the first folder that has it.
        languages: Source and target; empty to take those that the files are named after.
        tokenizers: How raw lines become pieces of the two vocabularies, and pieces text; None for
            text that is cut into pieces already, joined as the marks of the vocabulary tell.

    Raises:
        DataError: A file is missing, damaged or not of this kind, or the vocabularies of several
            folders differ.
        ConfigError: The folder has another pair of languages.
    """
    first, *others = split_paths(path)
    data = _open_folder(first, languages, tokenizers)
    for other in others:
        data = _join(data, _open_folder(other, data.languages, tokenizers), other)
    return data


def split_paths(path: str | Path) -> list[Path]:
    """Returns the folders that a:b:c names; a folder whose own name has a colon is one."""
    if Path(path).exists():
        return [Path(path)]
    return [Path(each) for each in str(path).split(":") if each] or [Path(path)]


def fairseq_side(dictionary: Path, tokenizer_config: TokenizerConfig | None) -> Side:
    """Returns the vocabulary of a dictionary, and what cuts text into its pieces.

    Args:
        dictionary: The file.
        tokenizer_config: None for text that is cut already.
    """
    vocabulary = Vocabulary.load(dictionary)
    config: TokenizerConfig = PiecesConfig(name="pieces", join=guess_join(vocabulary.symbols))
    if tokenizer_config is not None:
        config = replace(tokenizer_config)
    tokenizer = TOKENIZERS.get(config.name).cls(config)
    tokenizer.train(())
    return Side(tokenizer, vocabulary)


def shards_by_split(names: Iterable[str]) -> dict[str, list[str]]:
    """Returns the shards of each split, in order: train, train1, train2, ... are all of train."""
    found: dict[str, list[str]] = {}
    for name in sorted(names, key=_shard_number):
        found.setdefault(TRAIN if TRAIN_SHARD.fullmatch(name) else name, []).append(name)
    return found


def open_shards(prefixes: Sequence[Path], vocab_size: int) -> SequenceStore:
    """Opens stores of fairseq as one."""
    stores = [FairseqStore(prefix, vocab_size) for prefix in prefixes]
    return stores[0] if len(stores) == 1 else JoinedStore(stores)


def _open_folder(
    path: Path,
    languages: tuple[str, str],
    tokenizers: tuple[TokenizerConfig, TokenizerConfig] | None,
) -> ParallelData:
    files = _index_files(path)
    pair, languages = _choose_pair(path, files, languages)
    sides = [
        fairseq_side(path / f"dict.{language}.txt", config)
        for language, config in zip(languages, tokenizers or (None, None), strict=True)
    ]
    names = {match["split"] for match in files if f"{match['first']}-{match['second']}" == pair}
    stores: dict[str, Stores] = {}
    for split, shards in shards_by_split(names).items():
        source, target = (
            open_shards(
                [path / f"{shard}.{pair}.{language}" for shard in shards], len(side.vocabulary)
            )
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
        sides = [sides[0], sides[0]]
    return ParallelData(languages, sides[0], sides[1], joined, stores, {}, counts)


def _join(data: ParallelData, other: ParallelData, path: Path) -> ParallelData:
    for language, one, two in zip(
        data.languages, (data.source, data.target), (other.source, other.target), strict=True
    ):
        if one.vocabulary.symbols != two.vocabulary.symbols:
            raise DataError(
                f"{path / f'dict.{language}.txt'}: differs from that of the first folder. Run "
                "fairseq-preprocess on every part with one dictionary (--srcdict, --tgtdict)."
            )
    stores = other.split_stores | data.split_stores
    if TRAIN in data.split_stores and TRAIN in other.split_stores:
        pairs = zip(data.stores(TRAIN), other.stores(TRAIN), strict=True)
        source, target = (JoinedStore(pair) for pair in pairs)
        stores[TRAIN] = (source, target)
    counts = {split: _counts(pair) for split, pair in stores.items()}
    return replace(data, split_stores=stores, counts=counts)


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


def _shard_number(prefix: str) -> tuple[str, int]:
    match = TRAIN_SHARD.fullmatch(prefix)
    return (TRAIN, int(match[1])) if match else (prefix, -1)


def _counts(stores: Stores) -> SplitCounts:
    source, target = (SideCounts(store.num_tokens, None) for store in stores)
    return SplitCounts(len(stores[0]), 0, source, target)

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.text.fairseq_data import is_fairseq_folder, open_fairseq
from seqtrain.data.text.fairseq_store import FairseqStore
from seqtrain.data.text.lines import read_lines
from seqtrain.data.text.monolingual_open import is_text_folder, open_text
from seqtrain.data.token_store import TokenStore
from seqtrain.data.tokenizers.pieces import PiecesConfig, PiecesTokenizer
from seqtrain.data.tokenizers.sentencepiece import SentencePieceConfig
from seqtrain.data.vocabulary import UNKNOWN, Vocabulary
from seqtrain.errors import ConfigError, DataError
from seqtrain.tasks.translation import TranslationConfig, TranslationTask

CODES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2", 9: "<u4", 10: "<u8"}
SENTENCES = [[4, 5, 6], [], [5, 5], [3, 7]]


def write_mmap(prefix: Path, sequences: list[list[int]], code: int = 8) -> None:
    """As fairseq's documentation of the format says; every sequence ends with eos."""
    arrays = [np.array([*ids, 2], dtype=CODES[code]) for ids in sequences]
    sizes = np.array([len(array) for array in arrays], dtype="<i4")
    starts = (np.cumsum(sizes, dtype="<i8") - sizes) * np.dtype(CODES[code]).itemsize
    header = b"MMIDIDX\0\0" + struct.pack("<QBQ", 1, code, len(arrays))
    Path(f"{prefix}.idx").write_bytes(header + sizes.tobytes() + starts.astype("<i8").tobytes())
    Path(f"{prefix}.bin").write_bytes(b"".join(array.tobytes() for array in arrays))


def write_legacy(prefix: Path, sequences: list[list[int]], code: int = 4) -> None:
    arrays = [np.array([*ids, 2], dtype=CODES[code]) + 1 for ids in sequences]
    sizes = np.array([len(array) for array in arrays], dtype="<i8")
    header = b"TNTIDX\0\0" + struct.pack(
        "<QQQQQ", 1, code, arrays[0].itemsize, len(arrays), len(arrays)
    )
    offsets = [np.arange(len(arrays) + 1), np.concatenate([[0], np.cumsum(sizes)]), sizes]
    Path(f"{prefix}.idx").write_bytes(header + b"".join(a.astype("<i8").tobytes() for a in offsets))
    Path(f"{prefix}.bin").write_bytes(b"".join(array.tobytes() for array in arrays))


def write_folder(folder: Path, splits: dict[str, list[list[int]]], pair: str = "en-de") -> None:
    for language in pair.split("-"):
        symbols = ["▁a", "b", "▁c", "d", "madeupword0000"]
        text = "".join(f"{symbol} {5 - i}\n" for i, symbol in enumerate(symbols))
        (folder / f"dict.{language}.txt").write_text(text, encoding="utf-8")
        for split, sequences in splits.items():
            write_mmap(folder / f"{split}.{pair}.{language}", sequences)


def sequences_of(store: FairseqStore) -> list[list[int]]:
    return [store[index].tolist() for index in range(len(store))]


@pytest.mark.parametrize("code", CODES)
def test_every_integer_type_of_both_formats_gives_the_ids_without_eos(
    tmp_path: Path, code: int
) -> None:
    write_mmap(tmp_path / "new", SENTENCES, code)
    write_legacy(tmp_path / "old", SENTENCES, code)
    for name in ("new", "old"):
        store = FairseqStore(tmp_path / name, 9)
        assert sequences_of(store) == SENTENCES
        assert store.lengths.tolist() == [3, 0, 2, 2]
        assert (store.num_tokens, store.count(5), store.count(2)) == (7, 3, 0)
        assert sequences_of(pickle.loads(pickle.dumps(store))) == SENTENCES


@settings(max_examples=25, deadline=None)
@given(
    sequences=st.lists(st.lists(st.integers(3, 8), max_size=6), min_size=1, max_size=9),
    data=st.data(),
)
def test_a_fairseq_store_gathers_like_our_own(
    tmp_path_factory: pytest.TempPathFactory, sequences: list[list[int]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("data")
    write_mmap(folder / "x", sequences)
    ours = TokenStore.from_sequences(sequences, 9)
    theirs = FairseqStore(folder / "x", 9)
    places = st.lists(st.integers(0, len(sequences) - 1), max_size=8)
    indices = np.array(data.draw(places), dtype=np.int64)
    for one, other in zip(theirs.gather(indices), ours.gather(indices), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(theirs.lengths_at(indices), ours.lengths_at(indices))


@pytest.mark.parametrize(
    ("suffix", "change", "what"),
    [
        (".idx", lambda raw: b"MMIDIDY" + raw[7:], "not an index"),
        (".idx", lambda raw: raw[:20], "not an index"),
        (".idx", lambda raw: raw[:-1], "has .* bytes, its header says"),
        (".idx", lambda raw: raw[:17] + b"\x06" + raw[18:], "id type 6"),
        (".idx", lambda raw: raw[:26] + struct.pack("<i", -1) + raw[30:], "entry 0 reaches"),
        (".idx", lambda raw: raw[:-8] + struct.pack("<q", 10**6), "holds 11 ids, not 500003"),
        (".idx", lambda raw: raw[:-16] + struct.pack("<q", 10**6) + raw[-8:], "entry 2 reaches"),
        (
            ".idx",
            lambda raw: raw[:-16] + struct.pack("<q", 11) + raw[-8:],
            "entry 2 is no sentence",
        ),
        (".bin", lambda raw: raw[:-1], "not whole numbers"),
        (".bin", lambda raw: raw[:-2], "holds 10 ids, not 11"),
        (".bin", lambda raw: raw[:-2] + b"\x05\x00", "entry 3 does not end"),
        (".bin", lambda raw: b"\xff\xff" + raw[2:], "entry 0 holds the id 65535"),
    ],
)
def test_a_damaged_file_is_refused_by_name(
    tmp_path: Path, suffix: str, change: object, what: str
) -> None:
    write_mmap(tmp_path / "x", SENTENCES)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator] # a lambda of the table
    with pytest.raises(DataError, match=what) as caught:
        sequences_of(FairseqStore(tmp_path / "x", 9))
    assert str(tmp_path / "x") in str(caught.value)


def test_other_content_has_another_fingerprint(tmp_path: Path) -> None:
    write_mmap(tmp_path / "one", SENTENCES)
    write_mmap(tmp_path / "two", [[4, 5, 5], *SENTENCES[1:]])
    stores = [FairseqStore(tmp_path / name, 9) for name in ("one", "one", "two")]
    assert stores[0].fingerprint == stores[1].fingerprint != stores[2].fingerprint


def test_the_pair_is_found_and_shards_of_train_belong_together(tmp_path: Path) -> None:
    assert not is_fairseq_folder(tmp_path)
    splits = {"train": [[4]], "train1": [[5]], "train10": [[7]], "train2": [[6]], "valid": [[4, 5]]}
    write_folder(tmp_path, splits)
    assert is_fairseq_folder(tmp_path)
    data = open_fairseq(tmp_path)
    assert data.languages == ("en", "de")
    assert data.splits() == ["train", "valid"]
    source, _ = data.stores("train")
    assert [source[index].tolist() for index in range(4)] == [[4], [5], [6], [7]]
    backwards = open_fairseq(tmp_path, ("de", "en"))
    assert backwards.languages == ("de", "en")
    assert data.lines()[0] == "train: 4 pairs; en 4 tokens; de 4 tokens"


def test_a_pair_that_is_not_there_or_not_clear_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": [[4]]})
    with pytest.raises(ConfigError, match=r"holds en-de.*task\.source.*'fr'"):
        open_fairseq(tmp_path, ("en", "fr"))
    write_folder(tmp_path, {"train": [[4]]}, "en-fr")
    with pytest.raises(ConfigError, match="holds en-de, en-fr"):
        open_fairseq(tmp_path)
    assert open_fairseq(tmp_path, ("fr", "en")).languages == ("fr", "en")


def test_sides_of_different_length_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": [[4]]})
    write_mmap(tmp_path / "train.en-de.de", [[4], [5]])
    with pytest.raises(DataError, match="train has 1 sentences in en and 2 in de"):
        open_fairseq(tmp_path)


def test_outputs_and_references_are_joined_as_the_vocabulary_tells(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": [[4]], "test": [[4, 5, 6, 7]]})
    data = open_fairseq(tmp_path)
    assert data.references("test") == [["ab cd"]]
    assert data.source.encode("▁a b x").tolist() == [4, 5, UNKNOWN]
    for join, text in (("none", "▁a@@ b"), ("subword_nmt", "▁ab"), ("letter", "▁a@@b")):
        tokenizer = PiecesTokenizer(PiecesConfig(name="pieces", join=join))
        assert tokenizer.decode(["▁a@@", "b"]) == text
    with pytest.raises(ConfigError, match=r"tokenizer_options\.join.*'spaces'"):
        PiecesConfig(join="spaces")


def test_overwritten_symbols_take_the_last_row_and_survive_saving(tmp_path: Path) -> None:
    path = tmp_path / "dict.txt"
    path.write_text("a 3\n<unk> 2 #fairseq:overwrite\na 1 #fairseq:overwrite\nb 0\n")
    vocabulary = Vocabulary.load(path)
    assert vocabulary.symbols[4:] == ["a", "<unk>", "a", "b"]
    assert vocabulary.encode(["a", "<unk>", "b", "c"]).tolist() == [6, 5, 7, 3]
    vocabulary.save(tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_text() == path.read_text()
    again = Vocabulary.from_state(vocabulary.state_dict())
    assert again.encode(["a", "<unk>"]).tolist() == [6, 5]


def test_the_translation_task_opens_such_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": [[4, 5]], "test": [[4, 5, 6]]})
    task = TranslationTask.load(TranslationConfig(name="translation", data=str(tmp_path)), seed=1)
    batch = task.dataset("train").batch(np.array([0]), 1)
    assert batch.inputs["source_tokens"].tolist() == [[4, 5, 2]]
    assert batch.targets.tolist() == [[4, 5, 2]]
    assert batch.inputs["prev_output_tokens"].tolist() == [[2, 4, 5]]
    assert task.references("test") == [["ab c"]]
    assert task.context.shared_vocab
    again = TranslationTask.from_state(task.config, task.state_dict())
    assert again.target.decode([4, 5, 6]) == "ab c"


def real_data() -> Path:
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("SEQTRAIN_REAL_DATA", beside))
    if not (folder / "fairseq_golden").is_dir() or not (folder / "multi30k").is_dir():
        pytest.skip("No files of fairseq here: set SEQTRAIN_REAL_DATA to the folder that has them")
    return folder


def test_files_of_fairseq_have_the_ids_that_we_give_the_same_text() -> None:
    pytest.importorskip("sentencepiece", reason="the extra 'sentencepiece' is not installed")
    folder = real_data()
    config = SentencePieceConfig(
        name="sentencepiece", model=str(folder / "fairseq_golden" / "spm8k.model")
    )
    data = open_fairseq(folder / "fairseq_golden" / "data-bin", tokenizers=(config, config))
    assert data.splits() == ["test", "valid"]
    for split, name in (("valid", "val"), ("test", "test_2016_flickr")):
        stores = []
        for language, side in (("en", data.source), ("de", data.target)):
            lines = read_lines(folder / "multi30k" / f"{name}.{language}")
            encoded = [side.encode(line) for line in lines]
            stores.append(TokenStore.from_sequences(encoded, len(side.vocabulary)))
        ours, theirs = PairDataset(*stores), PairDataset(*data.stores(split))
        assert len(ours) == len(theirs) > 0
        for index in range(len(ours)):
            one, other = (each.batch(np.array([index]), 1) for each in (ours, theirs))
            assert one.inputs["source_tokens"].equal(other.inputs["source_tokens"])
            assert one.targets.equal(other.targets)


def write_text_folder(folder: Path, splits: dict[str, list[list[int]]]) -> None:
    folder.mkdir()
    (folder / "dict.txt").write_text("▁a 5\nb 4\n▁c 3\nd 2\nmadeupword0000 0\n", encoding="utf-8")
    for split, sequences in splits.items():
        write_mmap(folder / split, sequences)


def test_a_folder_of_one_language_has_its_lines_and_documents(tmp_path: Path) -> None:
    lines = [[4, 5], [6], [], [7], [], [], [4]]
    write_text_folder(tmp_path / "x", {"train": lines, "valid": [[4]]})
    assert is_text_folder(tmp_path / "x")
    assert not is_fairseq_folder(tmp_path / "x")
    data = open_text(tmp_path / "x")
    assert data.splits() == ["train", "valid"]
    store, documents = data.store("train"), data.documents("train")
    assert [store[index].tolist() for index in range(len(store))] == lines
    assert documents is not None
    assert documents.at(np.arange(len(documents))).tolist() == [0, 3, 6, 7]
    assert data.side.decode([4, 5, 6]) == "ab c"
    assert data.lines()[0] == "train: 7 lines in 3 documents, 5 tokens"


def test_folders_with_colons_between_are_one_corpus(tmp_path: Path) -> None:
    write_text_folder(tmp_path / "x", {"train": [[4], []], "train1": [[5]], "valid": [[4]]})
    write_text_folder(tmp_path / "y", {"train": [[6, 7]], "valid": [[5]], "test": [[6]]})
    data = open_text(f"{tmp_path / 'x'}:{tmp_path / 'y'}")
    stores = {split: data.store(split) for split in data.splits()}
    found = {name: [s[i].tolist() for i in range(len(s))] for name, s in stores.items()}
    assert found == {"train": [[4], [], [5], [6, 7]], "valid": [[4]], "test": [[6]]}
    documents = data.documents("train")
    assert documents is not None
    assert documents.at(np.arange(len(documents))).tolist() == [0, 2, 3, 4]


def test_pairs_of_several_folders_are_one_corpus(tmp_path: Path) -> None:
    for name, splits in {
        "x": {"train": [[4]], "valid": [[5]]},
        "y": {"train": [[6], [7]], "valid": [[6]], "test": [[4, 4]]},
    }.items():
        (tmp_path / name).mkdir()
        write_folder(tmp_path / name, splits)
    joined = Path(f"{tmp_path / 'x'}:{tmp_path / 'y'}")
    assert is_fairseq_folder(joined)
    data = open_fairseq(joined)
    found = {s: [data.stores(s)[1][i].tolist() for i in range(n)] for s, n in
             (("train", 3), ("valid", 1), ("test", 1))}  # fmt: skip
    assert found == {"train": [[4], [6], [7]], "valid": [[5]], "test": [[4, 4]]}
    assert data.counts["train"].num_pairs == 3
    (tmp_path / "y" / "dict.de.txt").write_text("other 1\n")
    with pytest.raises(DataError, match=r"y/dict\.de\.txt: differs"):
        open_fairseq(joined)

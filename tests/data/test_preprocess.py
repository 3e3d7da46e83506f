import io
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqtrain.data.batching import DatasetConfig
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.data.epoch_plan import EpochPlan
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.prepare_options import PrepareOptions
from seqtrain.data.text import encoding, progress
from seqtrain.data.text.encoding import Chunk, Cutter, cut_chunks
from seqtrain.data.text.parallel_data import ParallelData, load_raw_parallel
from seqtrain.data.text.parallel_preprocess import open_prepared, prepare_parallel
from seqtrain.data.text.parallel_text import ParallelSettings
from seqtrain.data.tokenizers.base import TokenizerConfig
from seqtrain.data.tokenizers.byte import ByteTokenizerConfig
from seqtrain.data.tokenizers.char import CharTokenizerConfig
from seqtrain.data.tokenizers.sentencepiece import SentencePieceConfig
from seqtrain.data.tokenizers.word import WordTokenizer, WordTokenizerConfig
from seqtrain.errors import ConfigError, DataError, MachineError

SOURCE = ["a small house", "", "the house", "a tree", "  "]
TARGET = ["ein kleines Haus", "leer", "das Haus", "", ""]
VALID_SOURCE = ["a house", "", "an owl"]
VALID_TARGET = ["ein Haus ||| das Haus", "nichts", "eine Eule"]


def write_text(folder: Path) -> None:
    for name, lines in {
        "train.en": SOURCE,
        "train.de": TARGET,
        "val.en": VALID_SOURCE,
        "val.de": VALID_TARGET,
    }.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def settings(folder: Path, **changes: Any) -> ParallelSettings:
    words = WordTokenizerConfig(name="word")
    fields: dict[str, Any] = {
        "source": "en",
        "target": "de",
        "prefixes": {"train": folder / "train", "valid": folder / "val"},
        "source_tokenizer": words,
        "target_tokenizer": words,
        "reference_separator": "|||",
    }
    return ParallelSettings(**(fields | changes))


def texts(data: ParallelData, split: str) -> list[tuple[str, str]]:
    source, target = data.stores(split)
    return [
        (data.source.decode(source[index]), data.target.decode(target[index]))
        for index in range(len(source))
    ]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    write_text(tmp_path)
    return tmp_path


def test_a_prepared_folder_holds_the_text(text: Path) -> None:
    lines = prepare_parallel(settings(text), text / "out")
    assert lines == [
        "train: 2 pairs, 3 with an empty side dropped; en 5 tokens, 0.00% unknown; "
        "de 5 tokens, 0.00% unknown",
        "valid: 3 pairs; en 4 tokens, 50.00% unknown; de 5 tokens, 60.00% unknown",
        "vocabulary: 8 symbols (en), 8 symbols (de)",
        "note: train: 3 of 5 rows are left out because text is missing. Look at the raw files.",
        *[
            f"note: valid: {share}.0% of the symbols of {language} are unknown. Use subwords, "
            "bytes, a larger vocabulary, or training text of the same kind."
            for language, share in (("en", 50), ("de", 60))
        ],
        f"written to {text / 'out'}",
    ]
    data = open_prepared(text / "out")
    assert data.splits() == ["train", "valid"]
    assert texts(data, "train") == [
        ("a small house", "ein kleines Haus"),
        ("the house", "das Haus"),
    ]
    assert texts(data, "valid")[0] == ("a house", "ein Haus")
    assert data.references("valid") == [["ein Haus", "das Haus"], ["nichts"], ["eine Eule"]]
    assert data.lines() == lines[:-1]


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(
    "tokenizer",
    [
        WordTokenizerConfig(name="word"),
        CharTokenizerConfig(name="char"),
        ByteTokenizerConfig(name="byte"),
        SentencePieceConfig(name="sentencepiece", vocab_size=40),
    ],
)
def test_raw_text_and_a_prepared_folder_give_the_same_data(
    text: Path, joined: bool, tokenizer: Any
) -> None:
    if tokenizer.name == "sentencepiece":
        pytest.importorskip("sentencepiece", reason="the extra 'sentencepiece' is not installed")
    chosen = settings(text, source_tokenizer=tokenizer, target_tokenizer=tokenizer, joined=joined)
    prepare_parallel(chosen, text / "out")
    raw, prepared = load_raw_parallel(chosen), open_prepared(text / "out")
    for split in ("train", "valid"):
        datasets = [PairDataset(*data.stores(split)) for data in (raw, prepared)]
        assert datasets[0].fingerprint == datasets[1].fingerprint
        assert texts(raw, split) == texts(prepared, split)
    assert raw.references("valid") == prepared.references("valid")
    assert raw.lines() == prepared.lines()
    assert raw.source.vocabulary.symbols == prepared.source.vocabulary.symbols
    assert (prepared.source is prepared.target) == joined


def test_preparing_twice_writes_the_same_bytes(text: Path) -> None:
    for name in ("one", "two"):
        prepare_parallel(settings(text, joined=True), text / name)
    for path in sorted((text / "one").iterdir()):
        assert path.read_bytes() == (text / "two" / path.name).read_bytes()


@pytest.mark.parametrize("joined", [False, True])
def test_several_processes_write_the_same_bytes(
    text: Path, joined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "CHUNK_ROWS", 2)
    monkeypatch.setattr(encoding, "ROWS_AT_ONCE", 3)
    generator = np.random.default_rng(0)
    for language in ("en", "de"):
        lines = [" ".join(map(str, generator.integers(0, 50, 9))) for _ in range(50)]
        (text / f"train.{language}").write_text("".join(f"{line}\n" for line in lines))
    for name, num_workers in (("one", 1), ("two", 2)):
        prepare_parallel(settings(text, joined=joined), text / name, PrepareOptions(num_workers))
    for path in sorted((text / "one").iterdir()):
        assert path.read_bytes() == (text / "two" / path.name).read_bytes()


def test_a_fault_in_the_text_is_the_same_line_with_several_processes(text: Path) -> None:
    (text / "val.de").write_bytes(b"eins\nzw\xffei\ndrei\n")
    with pytest.raises(DataError, match=r"val\.de:2: byte 3"):
        prepare_parallel(settings(text), text / "out", PrepareOptions(num_workers=2))
    assert {path.name for path in text.iterdir()} == {"train.en", "train.de", "val.en", "val.de"}


@dataclass(kw_only=True)
class FatalConfig(TokenizerConfig):
    """Ends the process that encodes, as a lack of memory would."""


class FatalTokenizer(WordTokenizer):
    def encode(self, text: str) -> list[str]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []


def test_a_process_that_dies_is_one_clear_line() -> None:
    tokenizer = FatalTokenizer(FatalConfig())
    with pytest.raises(MachineError, match="process that encodes text died.*num_workers=1"):
        list(cut_chunks(Cutter([tokenizer], True), [Chunk(("a",), 1)], num_workers=2))


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_a_bar_on_a_terminal_and_plain_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", shown)
    shows = progress.Progress("train", 600, "pairs", done=100)
    shows.advance(200)
    shows.close()
    assert "train: 300 of 600 pairs" in shown.getvalue()
    assert (f"[{'#' * 12}{' ' * 12}]" in shown.getvalue()) == is_terminal
    assert ("\x1b" in shown.getvalue()) == is_terminal


def test_quick_work_shows_no_progress(monkeypatch: pytest.MonkeyPatch, text: Path) -> None:
    monkeypatch.setattr(sys, "stderr", shown := io.StringIO())
    prepare_parallel(settings(text), text / "out")
    assert shown.getvalue() == ""


def test_bytes_leave_nothing_unknown_that_training_has_not_seen(text: Path) -> None:
    chosen = settings(
        text,
        source_tokenizer=ByteTokenizerConfig(name="byte"),
        target_tokenizer=ByteTokenizerConfig(name="byte"),
        min_count=2,
    )
    data = load_raw_parallel(chosen)
    assert len(data.source.vocabulary) == 260
    assert data.counts["valid"].source.num_unknown == 0
    assert data.source.decode(data.source.encode("Žluťoučký 🐎")) == "Žluťoučký 🐎"


def test_rare_words_are_unknown(text: Path) -> None:
    data = load_raw_parallel(settings(text, min_count=2))
    assert data.source.vocabulary.symbols[4:] == ["house"]


def test_line_counts_that_differ_are_refused_with_both(text: Path) -> None:
    (text / "val.de").write_text("eins\nzwei\n")
    with pytest.raises(DataError, match=r"val\.en has 3 lines and .*val\.de has 2"):
        prepare_parallel(settings(text), text / "out")
    with pytest.raises(DataError, match=r"val\.en has 3 lines and .*val\.de has 2"):
        load_raw_parallel(settings(text))
    assert not (text / "out").exists()


def test_damaged_text_is_refused_and_leaves_nothing_behind(text: Path) -> None:
    (text / "val.de").write_bytes(b"eins\nzw\xffei\ndrei\n")
    with pytest.raises(DataError, match=r"val\.de:2: byte 3"):
        prepare_parallel(settings(text), text / "out")
    assert {path.name for path in text.iterdir()} == {"train.en", "train.de", "val.en", "val.de"}


def test_text_without_a_whole_pair_is_refused(text: Path) -> None:
    (text / "train.de").write_text("\n" * 5)
    with pytest.raises(DataError, match=r"train\.en: no pair has text on both sides"):
        load_raw_parallel(settings(text))


def test_a_folder_of_something_else_is_left_alone(text: Path) -> None:
    (text / "out").mkdir()
    (text / "out" / "thesis.txt").write_text("do not lose")
    with pytest.raises(ConfigError, match="did not write"):
        prepare_parallel(settings(text), text / "out")
    with pytest.raises(ConfigError, match="is a file"):
        prepare_parallel(settings(text), text / "out" / "thesis.txt")
    assert (text / "out" / "thesis.txt").read_text() == "do not lose"


def test_an_earlier_result_of_other_settings_is_replaced_only_if_that_is_wanted(
    text: Path,
) -> None:
    (text / "out").mkdir()
    prepare_parallel(settings(text), text / "out")
    before = {path.name for path in text.iterdir()}
    with pytest.raises(ConfigError, match="overwrite=true"):
        prepare_parallel(settings(text, joined=True), text / "out")
    assert not open_prepared(text / "out").joined
    with (text / "train.en").open("a") as file, (text / "train.de").open("a") as other:
        file.write("an owl\n")
        other.write("eine Eule\n")
    with pytest.raises(ConfigError, match="other text or settings"):
        prepare_parallel(settings(text), text / "out")
    options = PrepareOptions(overwrite=True)
    prepare_parallel(settings(text, joined=True), text / "out", options)
    assert open_prepared(text / "out").joined
    assert {path.name for path in text.iterdir()} == before


def test_the_same_settings_again_leave_the_result_alone(text: Path) -> None:
    first = prepare_parallel(settings(text), text / "out")
    inode = (text / "out").stat().st_ino
    again = prepare_parallel(settings(text), text / "out")
    assert again == [*first[:-1], f"{text / 'out'} holds this already"]
    assert (text / "out").stat().st_ino == inode


def test_a_failure_keeps_the_earlier_result(text: Path) -> None:
    prepare_parallel(settings(text), text / "out")
    (text / "val.de").write_bytes(b"eins\nzw\xffei\ndrei\n")
    with pytest.raises(DataError):
        prepare_parallel(settings(text), text / "out", PrepareOptions(overwrite=True))
    assert open_prepared(text / "out").splits() == ["train", "valid"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_clear_line(text: Path) -> None:
    (text / "closed").mkdir(mode=0o500)
    with pytest.raises(MachineError, match="cannot be written"):
        prepare_parallel(settings(text), text / "closed" / "out")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("card.json", b"{", "not JSON"),
        ("card.json", b"[" * 100_000, "not JSON"),
        ("card.json", b"{}", "not the card"),
        ("dict.en.txt", b"house 2\na 1\nsmall 1\ntree 1\n", "fingerprint|vocabulary size"),
        ("dict.en.txt", b"a 2\nhouse 1\nsmall 1\nthe 1\n", "fingerprint"),
        ("valid.references.de", b"one line\n", "number of lines"),
        ("tokenizer.en.json", b"{}", "not a tokenizer"),
        ("train.en.tokens", b"\4\5\6\7\7", "checksum"),
        ("train.de.index", b"", "too short"),
    ],
)
def test_a_damaged_folder_is_refused_by_file(
    text: Path, name: str, content: bytes, what: str
) -> None:
    prepare_parallel(settings(text), text / "out")
    (text / "out" / name).write_bytes(content)
    with pytest.raises(DataError, match=what) as caught:
        open_prepared(text / "out")
    assert name in str(caught.value)


def test_a_folder_of_another_task_is_named_with_its_task_and_the_command_for_this_one(
    text: Path,
) -> None:
    prepare_parallel(settings(text), text / "out")
    (text / "out/card.json").write_text('{"kind": "seqtrain text"}')
    with pytest.raises(DataError) as caught:
        open_prepared(text / "out")
    message = str(caught.value)
    assert "prepared for task=language_modeling or masked_lm or denoising, not for task=" in message
    assert "seqtrain-preprocess task=translation task.source=en task.target=de" in message


@pytest.mark.parametrize("size", [-5, 3])
def test_a_vocabulary_without_room_for_symbols_is_refused(text: Path, size: int) -> None:
    chosen = settings(text, source_tokenizer=WordTokenizerConfig(name="word", vocab_size=size))
    with pytest.raises(ConfigError, match=f"task.vocab_size={size} leaves no room"):
        prepare_parallel(chosen, text / "out")


def test_a_store_of_another_text_is_refused(text: Path) -> None:
    prepare_parallel(settings(text), text / "out")
    (text / "train.en").write_text("the small house\n\na house\na tree\n\n")
    prepare_parallel(settings(text), text / "other")
    for suffix in ("tokens", "index"):
        (text / "other" / f"train.en.{suffix}").replace(text / "out" / f"train.en.{suffix}")
    with pytest.raises(DataError, match=r"train\.en\.index: its fingerprint is"):
        open_prepared(text / "out")


def test_a_card_cannot_lead_out_of_its_folder(text: Path) -> None:
    prepare_parallel(settings(text), text / "out")
    path = text / "out" / "card.json"
    card = json.loads(path.read_text())
    for change in ({"source": "../en"}, {"source": "de"}, {"splits": {"../x": {}}}, {"splits": 7}):
        path.write_text(json.dumps(card | change))
        with pytest.raises(DataError, match=r"card\.json"):
            open_prepared(text / "out")


def test_a_folder_that_was_not_prepared_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"card\.json.*task\.data.*seqtrain-preprocess"):
        open_prepared(tmp_path)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"source": ""}, "task.source"),
        ({"target": "a/b"}, "task.target"),
        ({"target": "en"}, "both 'en'"),
        ({"prefixes": {}}, "task.train"),
        ({"joined": True, "target_tokenizer": CharTokenizerConfig(name="char")}, "task.joined"),
    ],
)
def test_settings_that_cannot_work_name_their_key(
    tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        settings(tmp_path, **changes)


def test_a_vocabulary_without_room_is_refused(text: Path) -> None:
    small = WordTokenizerConfig(name="word", vocab_size=4)
    with pytest.raises(ConfigError, match="vocab_size=4"):
        load_raw_parallel(settings(text, source_tokenizer=small))


def test_an_unknown_split_lists_those_that_there_are(text: Path) -> None:
    data = load_raw_parallel(settings(text))
    with pytest.raises(DataError, match="'test'.*train, valid"):
        data.stores("test")


def multi30k() -> Path:
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("SEQTRAIN_REAL_DATA", beside)) / "multi30k"
    if not folder.is_dir():
        pytest.skip("Multi30k is not here: set SEQTRAIN_REAL_DATA to the folder that holds it")
    return folder


def test_multi30k_is_batched_with_less_than_5_percent_padding(tmp_path: Path) -> None:
    folder = multi30k()
    words = WordTokenizerConfig(name="word", vocab_size=8000)
    chosen = settings(
        folder,
        prefixes={"train": folder / "train"},
        source_tokenizer=words,
        target_tokenizer=words,
    )
    prepare_parallel(chosen, tmp_path / "out")
    dataset = PairDataset(*open_prepared(tmp_path / "out").stores("train"))
    iterator = EpochIterator(dataset, DatasetConfig(max_tokens=4096), seed=1)
    summary = iterator.summary()
    assert summary.num_used == 29_000
    assert summary.padding < 0.05
    batches = [group.batches[0] for group in iterator.groups(1)]
    assert sorted(np.concatenate([batch.ids for batch in batches])) == list(range(29_000))
    used = sum(batch.num_tokens for batch in batches) / sum(b.num_positions for b in batches)
    assert summary.padding == pytest.approx(1 - used)


def test_multi30k_in_subwords_is_batched_with_at_most_4_percent_padding_and_still_shuffled(
    tmp_path: Path,
) -> None:
    pytest.importorskip("sentencepiece", reason="the extra 'sentencepiece' is not installed")
    folder = multi30k()
    model = folder.parent / "fairseq_golden" / "spm8k.model"
    if not model.is_file():
        pytest.skip(f"{model} is not here: set SEQTRAIN_REAL_DATA to a folder that has it")
    pieces = SentencePieceConfig(name="sentencepiece", model=str(model))
    chosen = settings(
        folder,
        prefixes={"train": folder / "train"},
        source_tokenizer=pieces,
        target_tokenizer=pieces,
        joined=True,
    )
    prepare_parallel(chosen, tmp_path / "out")
    dataset = PairDataset(*open_prepared(tmp_path / "out").stores("train"))
    plan = EpochPlan(dataset, DatasetConfig(max_tokens=4096), seed=1, shuffle=True)
    assert plan.summary().padding <= 0.04
    longest = dataset.lengths.max(axis=1)
    batches = np.array([longest[batch].mean() for batch in plan.window(1, 0)])
    # Independent neighbours correlate by 1 / sqrt(122) = 0.09 or less two times in three.
    assert abs(np.corrcoef(batches[:-1], batches[1:])[0, 1]) < 0.3

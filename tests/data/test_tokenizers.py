import builtins
import json
import pickle
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.data.tokenizers.base import TOKENIZERS, Tokenizer
from seqtrain.data.tokenizers.byte import ALPHABET, ByteTokenizer, ByteTokenizerConfig
from seqtrain.data.tokenizers.char import CharTokenizer, CharTokenizerConfig
from seqtrain.data.tokenizers.files import load_tokenizer, save_tokenizer
from seqtrain.data.tokenizers.huggingface import HuggingFaceConfig, HuggingFaceTokenizer
from seqtrain.data.tokenizers.sentencepiece import SentencePieceConfig, SentencePieceTokenizer
from seqtrain.data.tokenizers.word import WordTokenizer, WordTokenizerConfig
from seqtrain.errors import CheckpointError, ConfigError, DataError, MachineError

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
LINES = ["the cat sat on the mat", "the dog sat on the cat", "a dog and a cat"] * 5


def learnt(**options: Any) -> SentencePieceTokenizer:
    pytest.importorskip("sentencepiece", reason="the extra 'sentencepiece' is not installed")
    config = SentencePieceConfig(name="sentencepiece", **({"vocab_size": 40} | options))
    tokenizer = SentencePieceTokenizer(config)
    tokenizer.train(LINES)
    return tokenizer


@given(text=TEXT)
def test_characters_round_trip_exactly(text: str) -> None:
    tokenizer = CharTokenizer(CharTokenizerConfig())
    pieces = tokenizer.encode(text)
    assert len(pieces) == len(text)
    assert " " not in pieces
    assert tokenizer.decode(pieces) == text


def test_a_space_and_its_sign_stay_apart_in_characters() -> None:
    tokenizer = CharTokenizer(CharTokenizerConfig())
    assert tokenizer.encode("a ▁▁b") == ["a", "▁", "▁▁", "▁▁", "b"]
    assert tokenizer.decode(tokenizer.encode("a ▁▁b")) == "a ▁▁b"


@given(text=TEXT)
def test_bytes_round_trip_exactly_with_256_symbols(text: str) -> None:
    tokenizer = ByteTokenizer(ByteTokenizerConfig())
    pieces = tokenizer.encode(text)
    assert set(pieces) <= set(ALPHABET)
    assert len(pieces) == len(text.encode())
    assert tokenizer.decode(pieces) == text


def test_bytes_that_are_no_text_decode_to_a_replacement() -> None:
    tokenizer = ByteTokenizer(ByteTokenizerConfig())
    assert tokenizer.decode(["<0xC3>", "<unk>", "<0x41>"]) == "\ufffdA"


@given(words=st.lists(st.text(alphabet="abü▁<>", min_size=1)))
def test_words_round_trip(words: list[str]) -> None:
    tokenizer = WordTokenizer(WordTokenizerConfig())
    assert tokenizer.encode(" \t ".join(words)) == words
    assert tokenizer.decode(words) == " ".join(words)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_sentencepiece_round_trips_and_learns_the_same_bytes_again(model_type: str) -> None:
    tokenizer, again = learnt(model_type=model_type), learnt(model_type=model_type)
    assert tokenizer.decode(tokenizer.encode("the dog sat")) == "the dog sat"
    assert torch.equal(tokenizer.state_dict()["model"], again.state_dict()["model"])


def test_a_sentencepiece_state_gives_the_same_tokenizer() -> None:
    tokenizer = learnt()
    again = SentencePieceTokenizer.from_state(tokenizer.config, tokenizer.state_dict())
    assert again.encode(LINES[0]) == tokenizer.encode(LINES[0])
    assert torch.equal(again.state_dict()["model"], tokenizer.state_dict()["model"])


def test_sentencepiece_uses_a_given_model(tmp_path: Path) -> None:
    tokenizer = learnt()
    path = tmp_path / "spm.model"
    path.write_bytes(tokenizer.state_dict()["model"].numpy().tobytes())
    other = SentencePieceTokenizer(SentencePieceConfig(model=str(path)))
    other.train([])
    assert other.encode(LINES[0]) == tokenizer.encode(LINES[0])


def test_tokenizers_travel_to_worker_processes() -> None:
    for tokenizer in (CharTokenizer(CharTokenizerConfig()), learnt()):
        assert pickle.loads(pickle.dumps(tokenizer)).encode("the") == tokenizer.encode("the")


@pytest.mark.parametrize("content", [b"", b"no model"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("sentencepiece", reason="the extra 'sentencepiece' is not installed")
    path = tmp_path / "spm.model"
    path.write_bytes(content)
    with pytest.raises(DataError, match="spm.model.*tokenizer_options.model"):
        SentencePieceTokenizer(SentencePieceConfig(model=str(path))).train([])
    with pytest.raises(DataError, match="missing.*tokenizer_options.model"):
        SentencePieceTokenizer(SentencePieceConfig(model=str(tmp_path / "missing"))).train([])


def test_text_that_sentencepiece_cannot_learn_from_is_one_line() -> None:
    with pytest.raises(DataError, match="task.vocab_size") as caught:
        learnt(vocab_size=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"model": b"bytes"},
        {"model": torch.zeros(0, dtype=torch.uint8)},
        {"model": torch.zeros(9, dtype=torch.uint8)},
        {"model": torch.zeros(9)},
    ],
)
def test_a_damaged_sentencepiece_state_is_refused(state: Mapping[str, Any]) -> None:
    pytest.importorskip("sentencepiece", reason="the extra 'sentencepiece' is not installed")
    with pytest.raises(CheckpointError, match="sentencepiece"):
        SentencePieceTokenizer.from_state(SentencePieceConfig(), state)


@pytest.mark.parametrize(
    ("field", "value"), [("vocab_size", 3), ("model_type", "x"), ("character_coverage", 0.1)]
)
def test_bad_sentencepiece_settings_name_the_key(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"task.*{field} must"):
        TOKENIZERS.parse({"name": "sentencepiece", field: value})


def test_without_the_package_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = builtins.__import__

    def missing(name: str, *rest: Any, **options: Any) -> Any:
        if name == "sentencepiece":
            raise ImportError(name)
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MachineError, match=r"pip install 'seqtrain\[sentencepiece\]'"):
        SentencePieceTokenizer(SentencePieceConfig()).train(LINES)


def test_tokenizer_files_round_trip(tmp_path: Path) -> None:
    tokenizers: list[Tokenizer] = [learnt(), WordTokenizer(WordTokenizerConfig(name="word"))]
    for tokenizer in tokenizers:
        save_tokenizer(tokenizer, tmp_path / "t.json")
        loaded = load_tokenizer(tmp_path / "t.json")
        assert loaded.config == tokenizer.config
        assert loaded.encode(LINES[0]) == tokenizer.encode(LINES[0])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"config": {"name": "word"}, "state": {"x": {"$tensor": {"dtype": "O"}}}}',
        '{"config": {"name": "word"}, "state": {"x": {"$tensor": {"dtype": "uint8", '
        '"shape": [4], "data": "AAAA"}}}}',
        "[" * 100_000,
    ],
)
def test_damaged_tokenizer_files_are_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.en.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"tokenizer\.en\.json"):
        load_tokenizer(path)


def byte_pairs(**options: Any) -> HuggingFaceTokenizer:
    pytest.importorskip("tokenizers", reason="the extra 'huggingface' is not installed")
    tokenizer = HuggingFaceTokenizer(
        HuggingFaceConfig(name="huggingface", **({"vocab_size": 270} | options))
    )
    tokenizer.train(LINES)
    return tokenizer


MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "word": lambda: WordTokenizer(WordTokenizerConfig()),
    "char": lambda: CharTokenizer(CharTokenizerConfig()),
    "byte": lambda: ByteTokenizer(ByteTokenizerConfig()),
    "sentencepiece": learnt,
    "huggingface": byte_pairs,
}


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=30, deadline=None)
@given(
    lines=st.lists(
        st.one_of(
            st.text(alphabet="thecatsdog ▁日本🐎", max_size=12),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0")),
        ),
        max_size=6,
    )
)
def test_many_lines_are_cut_like_each_alone(name: str, lines: list[str]) -> None:
    tokenizer = _made(name)
    cut = tokenizer.cut(lines)
    assert len(set(cut.symbols)) == len(cut.symbols)
    pieces = [cut.symbols[place] for place in cut.flat.tolist()]
    ends = np.cumsum(cut.lengths).tolist()
    begins = [0, *ends][: len(lines)]
    assert [pieces[b:e] for b, e in zip(begins, ends, strict=True)] == [
        tokenizer.encode(line) for line in lines
    ]


@cache
def _made(name: str) -> Tokenizer:
    return MAKERS[name]()


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=50, deadline=None)
def test_byte_pairs_round_trip_exactly_and_know_every_piece(text: str) -> None:
    tokenizer = _made("huggingface")
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_byte_pairs_learn_the_same_again_and_leave_nothing_unknown() -> None:
    tokenizer, again = byte_pairs(), byte_pairs()
    assert tokenizer.state_dict() == again.state_dict()
    assert "Ġcat" in tokenizer.encode("the cat")
    assert len(tokenizer.alphabet) == 256
    assert set(tokenizer.encode("日本 x")) <= set(tokenizer.alphabet)


def test_a_huggingface_tokenizer_is_kept_as_json(tmp_path: Path) -> None:
    tokenizer = byte_pairs()
    state = tokenizer.state_dict()
    assert json.loads(state["json"])["model"]["type"] == "BPE"
    for again in (
        HuggingFaceTokenizer.from_state(tokenizer.config, state),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        assert again.encode(LINES[0]) == tokenizer.encode(LINES[0])
        assert again.alphabet == tokenizer.alphabet
    (tmp_path / "tokenizer.json").write_text(state["json"], encoding="utf-8")
    given = byte_pairs(model=str(tmp_path / "tokenizer.json"))
    assert given.encode(LINES[0]) == tokenizer.encode(LINES[0])
    assert given.given_files() == [tmp_path / "tokenizer.json"]


def test_huggingface_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="the extra 'huggingface' is not installed")
    path = tmp_path / "tokenizer.json"
    for content in ("", "{}", "[1"):
        path.write_text(content)
        with pytest.raises(DataError, match=r"tokenizer\.json: not a tokenizer\.json"):
            byte_pairs(model=str(path))
        with pytest.raises(CheckpointError, match="huggingface"):
            HuggingFaceTokenizer.from_state(HuggingFaceConfig(), {"json": content})
    with pytest.raises(DataError, match=r"missing.*tokenizer_options\.model"):
        byte_pairs(model=str(tmp_path / "missing"))
    with pytest.raises(CheckpointError, match="no text"):
        HuggingFaceTokenizer.from_state(HuggingFaceConfig(), {})


def test_fewer_symbols_than_asked_for_are_noted() -> None:
    assert learnt(vocab_size=19).notes() == []
    (note,) = learnt(vocab_size=5000).notes()
    assert re.fullmatch(r"sentencepiece made \d+ symbols.* of the 5000 asked for.*", note)
    assert byte_pairs().notes() == []
    assert "of the 5000 asked for" in byte_pairs(vocab_size=5000).notes()[0]


def test_too_few_symbols_for_bytes_are_refused() -> None:
    with pytest.raises(ConfigError, match="task.vocab_size must be at least 264"):
        HuggingFaceConfig(vocab_size=100)

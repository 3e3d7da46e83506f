"""Tokenizers and vocabularies in the files that transformers reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqtrain.data.side import Side
from seqtrain.data.tokenizers.byte import ALPHABET
from seqtrain.data.tokenizers.char import LITERAL, SPACE
from seqtrain.data.tokenizers.sentencepiece import SentencePieceTokenizer
from seqtrain.data.vocabulary import BOS, EOS, PADDING, SPECIALS, UNKNOWN
from seqtrain.interop.export_folder import write_json
from seqtrain.tasks.base import Task
from seqtrain.tasks.language_modeling import LanguageModelingTask
from seqtrain.tasks.text_task import TextTask
from seqtrain.tasks.translation import TranslationTask

TARGET_FOLDER = "target_tokenizer"
_NAMES = {
    "unk_token": SPECIALS[UNKNOWN],
    "eos_token": SPECIALS[EOS],
    "pad_token": SPECIALS[PADDING],
}


class NoFaithfulFormError(Exception):
    """Says why a tokenizer has no form that gives the same ids."""


@dataclass(frozen=True)
class _Use:
    """How the model reads text.

    Args:
        is_prompt: Eos stands before a text, as a language model reads a prompt, not behind it.
        more: Symbols whose ids follow those of the vocabulary: masks.
    """

    is_prompt: bool = False
    more: tuple[str, ...] = ()


def write_tokenizers(task: Task, folder: Path, max_positions: int) -> list[str]:
    """Writes what turns text into ids of the model and back, for `AutoTokenizer`.

    Args:
        task: Has the tokenizers.
        folder: To write into. A target with symbols of its own gets the folder TARGET_FOLDER in
            it, unless both are of SentencePiece.
        max_positions: Longest sequence; 0 if there is no limit.

    Returns:
        Lines on what could not be written, and why.
    """
    sides = _sides(task)
    if not sides:
        return [f"no tokenizer: task={task.config.name} has no text."]
    source, target = sides[0], sides[-1]
    symbols = next(iter(task.vocabularies().values()))
    use = _Use(isinstance(task, LanguageModelingTask), tuple(symbols[len(source.vocabulary) :]))
    common: dict[str, Any] = {"clean_up_tokenization_spaces": False}
    if use.more:
        common |= {"mask_token": use.more[0], "additional_special_tokens": use.more[1:]}
    if max_positions:
        common["model_max_length"] = max_positions
    if all(isinstance(side.tokenizer, SentencePieceTokenizer) for side in sides):
        _write_marian(source, target, folder, use, common)
        return []
    notes = _write_json(source, folder, use, common)
    if source.vocabulary.symbols != target.vocabulary.symbols:
        (folder / TARGET_FOLDER).mkdir()
        notes += _write_json(target, folder / TARGET_FOLDER, use, common)
    return notes


def _sides(task: Task) -> list[Side]:
    """Returns tokenizer and vocabulary of source and target; one for plain text, none for none."""
    if isinstance(task, TranslationTask):
        return [task.source, task.target]
    return [task.side] if isinstance(task, TextTask) else []


def sentencepiece_model(tokenizer: SentencePieceTokenizer) -> bytes:
    """Returns the content of a SentencePiece model file."""
    content: bytes = tokenizer.state_dict()["model"].numpy().tobytes()
    return content


def _write_marian(
    source: Side, target: Side, folder: Path, use: _Use, common: dict[str, Any]
) -> None:
    """Writes SentencePiece models and the ids of their pieces, for MarianTokenizer."""
    for name, side in (("source", source), ("target", target)):
        if isinstance(side.tokenizer, SentencePieceTokenizer):
            (folder / f"{name}.spm").write_bytes(sentencepiece_model(side.tokenizer))
    more = {symbol: len(source.vocabulary) + index for index, symbol in enumerate(use.more)}
    write_json(folder / "vocab.json", _ids(source) | more)
    is_separate = source.vocabulary.symbols != target.vocabulary.symbols
    if is_separate:
        write_json(folder / "target_vocab.json", _ids(target))
    names = {"tokenizer_class": "MarianTokenizer", "separate_vocabs": is_separate, **_NAMES}
    write_json(folder / "tokenizer_config.json", names | common)


def _write_json(side: Side, folder: Path, use: _Use, common: dict[str, Any]) -> list[str]:
    """Writes a tokenizer.json; returns why not if it would not give the same ids."""
    try:
        content = tokenizer_json(side, use.is_prompt, use.more)
    except NoFaithfulFormError as error:
        write_json(folder / "vocabulary.json", [*side.vocabulary.symbols, *use.more])
        name = side.tokenizer.config.name
        return [f"no tokenizer for tokenizer={name}: {error}. vocabulary.json has the symbols."]
    write_json(folder / "tokenizer.json", content)
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIALS[BOS], **_NAMES}
    inputs = {"model_input_names": ["input_ids", "attention_mask"]}
    write_json(folder / "tokenizer_config.json", names | inputs | common)
    return []


def tokenizer_json(side: Side, is_prompt: bool, more: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the content of a tokenizer.json that gives the ids that the model was trained on.

    Args:
        side: Tokenizer and vocabulary.
        is_prompt: Put eos before a text, not behind it.
        more: Symbols whose ids follow those of the vocabulary.

    Raises:
        NoFaithfulFormError: There is none.
    """
    name = side.tokenizer.config.name
    parts = _PARTS.get(name)
    if parts is None:
        raise NoFaithfulFormError("transformers has none that cuts text as it does")
    if len(set(side.vocabulary.symbols)) < len(side.vocabulary):
        raise NoFaithfulFormError("the vocabulary has a spelling twice")
    made = parts(side)
    text, end = {"Sequence": {"id": "A", "type_id": 0}}, _special_in_template()
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [end, text] if is_prompt else [text, end],
            "pair": [text, end, {"Sequence": {"id": "B", "type_id": 0}}, end],
            "special_tokens": {
                SPECIALS[EOS]: {"id": SPECIALS[EOS], "ids": [EOS], "tokens": [SPECIALS[EOS]]}
            },
        },
        "decoder": None,
    }
    own = [_added(index, symbol) for index, symbol in enumerate(SPECIALS)]
    after = enumerate(more, start=len(side.vocabulary))
    made["added_tokens"] = [
        *own, *made.get("added_tokens", ()), *(_added(index, symbol) for index, symbol in after)
    ]  # fmt: skip
    return content | made


def _special_in_template() -> dict[str, Any]:
    return {"SpecialToken": {"id": SPECIALS[EOS], "type_id": 0}}


def _added(index: int, symbol: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": symbol, **flags, "special": True}


def _ids(side: Side) -> dict[str, int]:
    return {symbol: index for index, symbol in enumerate(side.vocabulary.symbols)}


def _word_level(ids: dict[str, int]) -> dict[str, Any]:
    return {"type": "WordLevel", "vocab": ids, "unk_token": SPECIALS[UNKNOWN]}


def _words(side: Side) -> dict[str, Any]:
    return {"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": _word_level(_ids(side))}


def _pieces(side: Side) -> dict[str, Any]:
    join = side.tokenizer.config.join
    if join == "none":
        return _words(side)
    fuse = {"type": "Fuse"}
    if join == "subword_nmt":
        steps = [_replace("Regex", r"\z", " "), fuse, _replace("String", "@@ ", "")]
        steps.append(_replace("Regex", " +$", ""))
    else:
        mark = {"sentencepiece": SPACE, "letter": "|"}[join]
        steps = [fuse, _replace("String", mark, " "), _replace("Regex", "^ +| +$", "")]
    return _words(side) | {"decoder": {"type": "Sequence", "decoders": steps}}


def _replace(kind: str, pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def _characters(side: Side) -> dict[str, Any]:
    spelled = {SPACE: " ", LITERAL: SPACE}
    ids = {spelled.get(symbol, symbol): index for symbol, index in _ids(side).items()}
    split = {"pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
    return {
        "pre_tokenizer": {"type": "Split", **split},
        "model": _word_level(ids),
        "decoder": {"type": "Fuse"},
    }


def _bytes(side: Side) -> dict[str, Any]:
    shown = dict(zip(ALPHABET, _shown_bytes(), strict=True))
    ids = {shown.get(symbol, symbol): index for symbol, index in _ids(side).items()}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "pre_tokenizer": level | {"use_regex": False},
        "model": {"type": "BPE", "vocab": ids, "merges": [], "unk_token": None},
        "decoder": level | {"use_regex": False},
    }


def _shown_bytes() -> list[str]:
    """Returns the character that stands for each byte in byte-level BPE: itself if it is visible.

    The others are the characters from 256 on, in order (Radford et al. 2019).
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return [
        chr(byte if byte in visible else 256 + hidden.index(byte)) for byte in range(256)
    ]  # fmt: skip


def _given_json(side: Side) -> dict[str, Any]:
    """Returns the parts of a tokenizer.json with the model's own ids."""
    given = json.loads(side.tokenizer.state_dict()["json"])
    model = given["model"]
    if not isinstance(model.get("vocab"), dict):
        raise NoFaithfulFormError(
            f"its kind {model.get('type')} keeps no ids that could be changed"
        )
    ids = _ids(side)
    added = given.get("added_tokens") or []
    pieces = {*model["vocab"], *(token["content"] for token in added)}
    if missing := pieces - ids.keys():
        raise NoFaithfulFormError(
            f"{len(missing)} of its {len(pieces)} pieces, {min(missing)!r} among them, did not "
            "occur in the training text and are unknown to the model"
        )
    if taken := pieces & set(SPECIALS):
        raise NoFaithfulFormError(f"it has a piece {min(taken)!r} of its own")
    added = [token | {"id": ids[token["content"]]} for token in added]
    parts = {name: given.get(name) for name in ("normalizer", "pre_tokenizer", "decoder")}
    return parts | {"model": model | {"vocab": ids}, "added_tokens": added}


_PARTS = {
    "word": _words,
    "char": _characters,
    "byte": _bytes,
    "pieces": _pieces,
    "huggingface": _given_json,
}
"""What of tokenizer.json depends on the tokenizer, by its name."""

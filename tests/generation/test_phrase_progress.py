"""Automata of phrases against plain searching in lists."""

from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.generation.phrase_progress import PhraseTables, tracks_of

Phrases = list[list[int]]
SYMBOLS = st.integers(3, 5)
PHRASES = st.lists(st.lists(SYMBOLS, min_size=1, max_size=3), max_size=3)


def _places(tokens: list[int], phrase: list[int]) -> list[int]:
    size = len(phrase)
    return [at for at in range(len(tokens) - size + 1) if tokens[at : at + size] == phrase]


def contains_in_order(tokens: list[int], phrases: Phrases) -> bool:
    """Says whether the phrases stand in a list in their order, none inside another."""
    begin = 0
    for phrase in phrases:
        later = [at for at in _places(tokens, phrase) if at >= begin]
        if not later:
            return False
        begin = later[0] + len(phrase)
    return True


def contains(tokens: list[int], phrases: Phrases) -> bool:
    """Says whether the phrases stand in a list, each as often as it is given."""
    counted = Counter(map(tuple, phrases))
    return all(contains_in_order(tokens, [list(p)] * n) for p, n in counted.items())


@settings(max_examples=150, deadline=None)
@given(PHRASES, st.lists(SYMBOLS, max_size=9), st.booleans())
def test_phrases_are_found_wherever_they_stand(
    phrases: Phrases, tokens: list[int], is_ordered: bool
) -> None:
    device = torch.device("cpu")
    tables = PhraseTables.of_sentences(
        [
            PhraseTables.of_sentence(tracks_of(phrases, is_ordered), device),
            PhraseTables.of_sentence(tracks_of([[9] * 4, [8, 7]], is_ordered), device),
        ]
    )
    states = torch.zeros(2, 1, tables.num_tracks, dtype=torch.int64)
    for symbol in tokens:
        states = tables.after(states, torch.full((2, 1), symbol))
    num_met = tables.num_met(states)
    expected = contains_in_order(tokens, phrases) if is_ordered else contains(tokens, phrases)
    assert bool(num_met[0, 0] == tables.totals[0]) == expected
    assert num_met[1, 0] == 0


@settings(max_examples=100, deadline=None)
@given(PHRASES, st.lists(SYMBOLS, max_size=6), st.booleans())
def test_the_missing_symbols_can_always_be_written_one_after_another(
    phrases: Phrases, tokens: list[int], is_ordered: bool
) -> None:
    tables = PhraseTables.of_sentence(tracks_of(phrases, is_ordered), torch.device("cpu"))
    states = torch.zeros(1, 1, tables.num_tracks, dtype=torch.int64)
    for symbol in tokens:
        states = tables.after(states, torch.tensor([[symbol]]))
    for _ in range(int(tables.totals - tables.num_met(states))):
        if tables.num_met(states) == tables.totals:  # phrases that overlap need fewer symbols
            break
        before = tables.num_met(states)
        wanted = [symbol for symbol in tables.going_on(states).flatten().tolist() if symbol >= 0]
        ways = [tables.after(states, torch.tensor([[symbol]])) for symbol in wanted]
        states = max(ways, key=lambda way: int(tables.num_met(way)))
        assert tables.num_met(states) > before
    assert tables.num_met(states) == tables.totals

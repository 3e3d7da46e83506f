import numpy as np

from seqtrain.data.array_file import ArrayFile
from seqtrain.data.side import Side
from seqtrain.data.text import statistics
from seqtrain.data.text.monolingual_data import TextCounts, TextData
from seqtrain.data.text.parallel_data import ParallelData, SideCounts, SplitCounts
from seqtrain.data.text.statistics import histogram_lines, statistics_lines
from seqtrain.data.token_store import TokenStore
from seqtrain.data.tokenizers.word import WordTokenizer, WordTokenizerConfig
from seqtrain.data.vocabulary import Vocabulary


def parallel_data(num_pairs: int) -> ParallelData:
    vocabulary = Vocabulary([("a", 3), ("b", 2), ("c", 1)])
    side = Side(WordTokenizer(WordTokenizerConfig(name="word")), vocabulary)
    source = TokenStore.from_sequences([[4, 5], [4, 3]] * num_pairs, 7)
    target = TokenStore.from_sequences([[4], [4, 4, 4]] * num_pairs, 7)
    counts = SplitCounts(len(source), 0, SideCounts(0, None), SideCounts(0, None))
    stores = {"train": (source, target)}
    return ParallelData(("en", "de"), side, side, True, stores, {}, {"train": counts})


def test_a_report_has_lengths_coverage_unknowns_padding_and_examples() -> None:
    lines = list(statistics_lines(parallel_data(2), max_tokens=100))
    assert "train: 4 pairs" in lines
    assert (
        "  en: lengths 2 to 2, mean 2.0, median 2; 25.00% unknown; 2 of 3 symbols occur (66.7%)"
        in lines
    )
    # 4 x 3 source positions without padding; of 4 x 4 target positions 2 x 2 are padding.
    assert "  max_tokens=100: 4 of 4 examples in 1 batches, 14.3% padding" in lines
    assert "  example 0: a b | a" in lines


def test_a_histogram_has_each_length_once() -> None:
    lines = list(histogram_lines(np.array([0, 1, 1, 25, 99])))
    assert [(line.split()[:3], line.split()[-1]) for line in lines] == [
        (["0", "to", "9"], "3"),
        (["20", "to", "29"], "1"),
        (["90", "to", "99"], "1"),
    ]
    assert [line.count("#") for line in lines] == [40, 14, 14]
    assert list(histogram_lines(np.array([], dtype=np.int64))) == []


def test_a_large_split_is_looked_at_in_part(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(statistics, "MOST_EXAMPLES", 10)
    assert "train: 400 pairs (in 10 of them)" in list(statistics_lines(parallel_data(200), 100))


def test_a_split_without_examples_is_reported_too() -> None:
    assert "train: 0 pairs" in list(statistics_lines(parallel_data(0), 100))


def test_a_report_on_plain_text_has_lines_and_documents() -> None:
    pairs = parallel_data(2)
    store = pairs.stores("train")[0]
    counts = TextCounts(4, 2, 8, 2, 16, 16)
    documents = ArrayFile.in_memory(np.array([0, 1, 4]))
    data = TextData(pairs.source, {"train": store}, {"train": documents}, {"train": counts})
    lines = list(statistics_lines(data, max_tokens=100))
    assert lines[0] == "train: 4 lines in 2 documents, 8 tokens, 25.00% unknown, 16 bytes"
    assert any(line.startswith("note: train: 25.0%") for line in lines)
    assert "  documents: 2 to 6 symbols, mean 4.0, median 4" in lines
    assert "  max_tokens=100: 4 of 4 examples in 1 batches, 0.0% padding" in lines
    assert "  example 0: a b" in lines

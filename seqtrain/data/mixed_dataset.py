"""Corpora in chosen proportions: how many examples of each make an epoch, and which."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.dataset import Dataset
from seqtrain.data.joined_dataset import JoinedDataset
from seqtrain.data.joined_store import JoinedStore
from seqtrain.data.pair_dataset import PairDataset
from seqtrain.data.permutation import permute
from seqtrain.data.text.corpus import TRAIN
from seqtrain.data.text.parallel_data import ParallelData
from seqtrain.errors import ConfigError, DataError

IntArray = npt.NDArray[np.int64]


class MixedDataset(Dataset):
    """A dataset of several corpora that takes a chosen number of examples of each in an epoch.

    A corpus of which an epoch takes fewer examples than there are goes on in the next epoch where
    it stopped, in random order; one of which it takes more begins again. So every example of a
    corpus is used before one is used again. Which they are is a function of (seed, epoch), so
    that a run can stop and go on anywhere.

    One corpus with fewer examples in an epoch is a sub-sample that moves through the data.

    Args:
        dataset: The examples of all corpora, one corpus after the other (see JoinedStore).
        corpus_sizes: Examples of each corpus, in the order of the dataset.
        taken: Examples of each corpus in an epoch (see `share_by_temperature` and `split_by`).
        seed: What the order within a corpus is drawn from.

    Raises:
        ConfigError: The sizes are not those of the dataset, or examples are asked of an empty
            corpus.
    """

    def __init__(
        self, dataset: Dataset, corpus_sizes: Sequence[int], taken: Sequence[int], seed: int
    ) -> None:
        if sum(corpus_sizes) != len(dataset) or len(taken) != len(corpus_sizes):
            raise ConfigError(
                f"The corpora have {list(corpus_sizes)} examples, {list(taken)} of them are taken, "
                f"and there are {len(dataset)}. Give both numbers for each corpus."
            )
        for corpus, (size, count) in enumerate(zip(corpus_sizes, taken, strict=True)):
            if count < 0 or (count > 0 and size == 0):
                raise ConfigError(
                    f"{count} examples of corpus {corpus} are asked for, which has {size}. "
                    "Change its weight."
                )
        self._dataset = dataset
        self._sizes = list(corpus_sizes)
        self._taken = list(taken)
        self._seed = seed
        self._begins = np.cumsum([0, *corpus_sizes], dtype=np.int64)
        self._starts = np.cumsum([0, *taken], dtype=np.int64)
        self._epoch = 1

    @override
    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    @override
    def fingerprint(self) -> str:
        parts = (self._dataset.fingerprint, self._sizes, self._taken, self._seed)
        return blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    @override
    def in_epoch(self, epoch: int) -> "MixedDataset":
        same = MixedDataset(self._dataset, self._sizes, self._taken, self._seed)
        same._epoch = epoch
        return same

    @override
    def shortened(self, longest: Sequence[int]) -> "MixedDataset":
        return MixedDataset(self._dataset.shortened(longest), self._sizes, self._taken, self._seed)

    @property
    @override
    def lengths(self) -> npt.NDArray[np.int32]:
        return self.lengths_at(np.arange(len(self)))

    @override
    def lengths_at(self, indices: IntArray) -> npt.NDArray[np.int32]:
        return self._dataset.in_epoch(self._epoch).lengths_at(self.examples(indices, self._epoch))

    @override
    def batch(self, indices: IntArray, epoch: int) -> Batch:
        """Returns a batch whose ids are the examples' indices in the dataset of all corpora."""
        return self._dataset.batch(self.examples(indices, epoch), epoch)

    @override
    def empty_batch(self) -> Batch:
        return self._dataset.empty_batch()

    def examples(self, indices: IntArray, epoch: int) -> IntArray:
        """Returns which examples of the dataset of all corpora stand at indices of an epoch."""
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        found = np.empty(len(indices), dtype=np.int64)
        for corpus in np.unique(owners).tolist():
            places = np.flatnonzero(owners == corpus)
            size, count = self._sizes[corpus], self._taken[corpus]
            # All epochs one after the other are a walk round the corpus.
            walked = (epoch - 1) * count + (indices[places] - self._starts[corpus])
            found[places] = walked % size
            if count % size:
                found[places] = permute(size, found[places], self._seed, "corpus", corpus)
            found[places] += self._begins[corpus]
        return found


def mix_pairs(
    corpora: Sequence[ParallelData], weights: Sequence[float], temperature: float, seed: int
) -> MixedDataset:
    """Returns the training pairs of several corpora; an epoch has as many as they have together.

    Args:
        corpora: Prepared with one vocabulary.
        weights: Proportions of the corpora in an epoch; none for those of `temperature`.
        temperature: See `share_by_temperature`.
        seed: What the order within a corpus is drawn from.

    Raises:
        ConfigError: There are not as many weights as corpora, or they cannot be.
        DataError: The vocabularies or languages differ.
    """
    first = corpora[0]
    for number, corpus in enumerate(corpora):
        same = corpus.languages == first.languages and all(
            one.vocabulary.fingerprint == other.vocabulary.fingerprint
            for one, other in ((corpus.source, first.source), (corpus.target, first.target))
        )
        if not same:
            raise DataError(
                f"Corpus {number} of the mix ({'-'.join(corpus.languages)}) has another vocabulary "
                f"or pair of languages than corpus 0 ({'-'.join(first.languages)}). Prepare it "
                "with task.vocabulary_from naming the folder of that one."
            )
    stores = [corpus.stores(TRAIN) for corpus in corpora]
    sizes = [len(source) for source, _ in stores]
    taken = _taken(sizes, weights, temperature)
    dataset = PairDataset(
        JoinedStore([source for source, _ in stores]), JoinedStore([target for _, target in stores])
    )
    return MixedDataset(dataset, sizes, taken, seed)


def mix_datasets(
    datasets: Sequence[Dataset], weights: Sequence[float], temperature: float, seed: int
) -> MixedDataset:
    """Returns the examples of datasets of one kind in chosen proportions.

    Args:
        datasets: Their batches have the same inputs; an epoch has as many examples as they have
            together.
        weights: Proportions of the datasets in an epoch; none for those of `temperature`.
        temperature: See `share_by_temperature`.
        seed: What the order within a dataset is drawn from.

    Raises:
        ConfigError: There are not as many weights as datasets, or they cannot be.
    """
    sizes = [len(dataset) for dataset in datasets]
    taken = _taken(sizes, weights, temperature)
    return MixedDataset(JoinedDataset(datasets), sizes, taken, seed)


def _taken(sizes: Sequence[int], weights: Sequence[float], temperature: float) -> list[int]:
    if weights and len(weights) != len(sizes):
        raise ConfigError(
            f"A mix of {len(sizes)} corpora needs as many weights, got {list(weights)}."
        )
    shares = weights or share_by_temperature(sizes, temperature)
    return split_by(shares, sum(sizes))


def split_by(weights: Sequence[float], num_examples: int) -> list[int]:
    """Returns how many of num_examples each corpus gives, in proportion to the weights.

    Raises:
        ConfigError: A weight is negative or not finite, or all are 0.
    """
    shares = np.asarray(weights, dtype=np.float64)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise ConfigError(
            f"The weights of corpora must be 0 or more and not all 0, got {list(weights)}."
        )
    exact = shares / shares.sum() * num_examples
    counts = np.floor(exact).astype(np.int64)
    # The rest goes to the largest fractions, the first ones among equals.
    rest = num_examples - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    return counts.tolist()


def share_by_temperature(corpus_sizes: Sequence[int], temperature: float) -> list[float]:
    """Returns weights in proportion to size ** (1 / temperature).

    1 takes corpora as they are; higher temperatures take more of small ones (Arivazhagan et al.,
    2019, "Massively multilingual neural machine translation in the wild").

    Raises:
        ConfigError: The temperature is not positive.
    """
    if not temperature > 0:
        raise ConfigError(f"The temperature of a mix must be positive, got {temperature}.")
    return [float(size) ** (1.0 / temperature) for size in corpus_sizes]

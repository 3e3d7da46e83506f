"""What a dataset is: examples by index, with lengths, put together into batches."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seqtrain.batch import Batch
from seqtrain.errors import ConfigError


class Dataset(ABC):
    """Examples that batching plans by length and workers load by index.

    A dataset is picklable and cheap to send to a worker process: it opens files, it does not
    hold them in memory. Randomness of an example is a function of (seed, epoch, index).
    """

    @property
    @abstractmethod
    def lengths(self) -> npt.NDArray[np.int32]:
        """Positions of each example, [examples, sides], as batching counts them."""

    def lengths_at(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Returns the rows of `lengths` for some examples; large datasets read no others."""
        return self.lengths[indices]

    def in_epoch(self, epoch: int) -> "Dataset":
        """Returns the dataset as it is in one epoch, for planning; most are always the same.

        The number of examples and the fingerprint do not depend on the epoch.
        """
        return self

    def shortened(self, longest: Sequence[int]) -> "Dataset":
        """Returns the dataset with every example cut, for `dataset.long_examples=cut`.

        Its fingerprint stays: it names the content that is cut.

        Args:
            longest: Most positions of each side, as `lengths` counts them; 0 for no limit.

        Raises:
            ConfigError: Examples of this kind cannot be cut.
        """
        raise ConfigError(
            f"dataset.long_examples=cut is not possible with a {type(self).__name__}. "
            "Use skip or refuse."
        )

    @property
    def shard_sizes(self) -> list[int] | None:
        """Examples of each part of which only a few are open at once; None if all are at hand."""
        return None

    @property
    def shards_at_once(self) -> int:
        """Parts whose examples may be mixed; see `shard_sizes`."""
        return 1

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Short hash of the content, which must not change while a run is resumed."""

    @abstractmethod
    def batch(self, indices: npt.NDArray[np.int64], epoch: int) -> Batch:
        """Returns the examples at these indices as one padded batch, in this order."""

    @abstractmethod
    def empty_batch(self) -> Batch:
        """Returns a batch without examples (see Batch)."""

    def __len__(self) -> int:
        return len(self.lengths)

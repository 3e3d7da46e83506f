"""What a dataset is: examples by index, with lengths, put together into batches."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from seqtrain.batch import Batch


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

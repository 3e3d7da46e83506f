"""How raw data is prepared, whatever it is."""

import re
from dataclasses import dataclass

from seqtrain.errors import ConfigError
from seqtrain.option_checks import require_range

JOIN = "join"


@dataclass(frozen=True)
class PrepareOptions:
    """How a folder is prepared; what it holds in the end does not depend on it.

    Args:
        num_workers: Processes that encode text.
        overwrite: A folder that was prepared from other text or settings is replaced.
        shard: "2/4" prepares the second of four parts, "join" puts all parts together; empty for
            everything at once.
    """

    num_workers: int = 1
    overwrite: bool = False
    shard: str = ""

    def __post_init__(self) -> None:
        require_range("num_workers", self.num_workers, least=1)
        if self.shard in ("", JOIN):
            return
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.shard)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(
                f"shard must be i/n with i from 1 to n, as in 2/4, or {JOIN}; got {self.shard!r}."
            )

    @property
    def part(self) -> tuple[int, int]:
        """Number of the part, from 1, and of parts; 1 of 1 without shards. Not for `join`."""
        number, _, count = (self.shard or "1/1").partition("/")
        return int(number), int(count)


AT_ONCE = PrepareOptions()
"""Everything at once, in this process, over nothing that is there."""

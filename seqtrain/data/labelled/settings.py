"""What preparing labelled examples needs to know."""

from dataclasses import dataclass, field

from seqtrain.data.text.byte_streams import Location
from seqtrain.data.tokenizers.base import TokenizerConfig
from seqtrain.errors import ConfigError
from seqtrain.option_checks import require_choice

TRAIN = "train"
SCALES = ("standard", "none")


@dataclass(frozen=True, kw_only=True)
class LabelledSettings:
    """Files, and what to make of them.

    Args:
        files: Location of each split.
        per_position: There is a label for each position, not one for each example.
        tokenizer: For examples that are text.
        min_count: Symbols that occur less often in training are unknown.
        scale: "standard" gives each channel mean 0 and standard deviation 1 on the training
            examples, "none" keeps numbers as they are.
        ignore_label: With labels for positions, the one that does not count.
        classes: Names in the order of their ids; empty for those of the training examples.
    """

    files: dict[str, Location]
    per_position: bool
    tokenizer: TokenizerConfig
    min_count: int = 1
    scale: str = "standard"
    ignore_label: str = "-1"
    classes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        require_choice("task.scale", self.scale, SCALES)
        if len(set(self.classes)) != len(self.classes):
            raise ConfigError(f"task.classes names a class twice: {', '.join(self.classes)}.")
        if TRAIN not in self.files:
            raise ConfigError("task.train is not set: it is the file of the training examples.")

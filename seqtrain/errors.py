"""Errors that a user can cause: each is one clear line and an exit code of the commands."""


class SeqtrainError(Exception):
    """A user's mistake or a fault of the surroundings; commands print it without a traceback."""

    exit_code = 1


class ConfigError(SeqtrainError, ValueError):
    """A setting that cannot work. The message names the key, the value and the way out."""

    exit_code = 2


class UnknownNameError(ConfigError, LookupError):
    """A component name that is not registered. The message lists the choices."""


class UnfitModelError(ConfigError):
    """A model that needs what the task does not have. The message names what."""


class DataError(SeqtrainError, ValueError):
    """Data that cannot be used. The message names the file and the position."""

    exit_code = 3


class CheckpointError(SeqtrainError):
    """A checkpoint that cannot be written, read or applied. The message names the file."""

    exit_code = 4


class MachineError(SeqtrainError):
    """The machine refuses: a missing package or device, a full or read-only disk."""

    exit_code = 5


class DistributedError(SeqtrainError):
    """Processes that cannot find one another, or disagree."""

    exit_code = 6


class NumericError(SeqtrainError, ArithmeticError):
    """Training that produces non-finite numbers and cannot go on."""

    exit_code = 7

"""Validates and tests what is trained, and remembers the best value."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seqtrain.config_schema import parse_section
from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.training.answers.samples import validation_samples
from seqtrain.training.build import Run
from seqtrain.training.log_writers.fan_out import LogFanOut


@dataclass
class ValidationState:
    """What must not be forgotten when a run is resumed."""

    best_value: float | None = None
    validations_since_best: int = 0
    validated_update: int = -1
    validated_value: float | None = None


class Validation:
    """Measures the validation splits and the test split with the weights to evaluate.

    Args:
        run: The built parts.
        fire: Called with a callback's event and its arguments.
    """

    def __init__(self, run: Run, fire: Callable[..., None]) -> None:
        self.run = run
        self.state = ValidationState()
        self._config = run.config.validation
        self._choice = run.config.checkpoint
        self._fire = fire

    def check(self) -> list[str]:
        """Raises now, not at the first validation, if a split or the value that decides lacks.

        Returns:
            Lines for people, on what is allowed but seldom meant.

        Raises:
            ConfigError: It is not there.
        """
        splits = self.run.task.splits()
        for split in self._config.splits:
            if split not in splits:
                raise ConfigError(
                    f"validation.splits names {split!r}; the data has {', '.join(splits)}. "
                    "Name some of these, or none with validation.splits=[]."
                )
        if self._config.test_split not in ("", "test", *splits):
            raise ConfigError(
                f"validation.test_split names {self._config.test_split!r}; the data has "
                f"{', '.join(splits)}. Name one of these, or none with validation.test_split=."
            )
        if self._config.splits:
            self._check_best_metric()
        best_metric = self._choice.best_metric
        if self._choice.maximize_best_metric and best_metric.endswith(("loss", "_ppl")):
            return [
                f"note: checkpoint.maximize_best_metric=true keeps the largest {best_metric}, "
                "which is the worst."
            ]
        return []

    def validate(self, log: LogFanOut) -> bool:
        """Validates all splits; returns whether the first one has a new best value."""
        trainer, values = self.run.trainer, dict[str, float]()
        with trainer.evaluation_weights():
            for index, split in enumerate(self._config.splits):
                self._fire("on_validation_start", split)
                found = self.run.evaluator.evaluate(split, self._config.generate).values
                prefix = "valid_" if index == 0 else f"valid_{split}_"
                values |= {prefix + name: value for name, value in found.items()}
                self._fire("on_validation_end", split, found)
            self._write_samples(log)
        is_best = self._take(values.get(self._choice.best_metric, math.nan))
        best = {} if self.state.best_value is None else {"valid_best": self.state.best_value}
        log.write("valid", trainer.num_updates, values | best)
        return is_best

    def test(self, log: LogFanOut) -> dict[str, float]:
        """Tests where there is a test split; returns its values, unprefixed."""
        split = self._config.test_split
        if not split or split not in self.run.task.splits():
            return {}
        self._fire("on_test_start")
        with self.run.trainer.evaluation_weights():
            values = self.run.evaluator.evaluate(split, self._config.test_generate).values
        self._fire("on_test_end", values)
        named = {f"test_{name}": value for name, value in values.items()}
        log.write("test", self.run.trainer.num_updates, named)
        return values

    @property
    def has_these_weights(self) -> bool:
        """Whether nothing has changed since the last validation."""
        return self.state.validated_update == self.run.trainer.num_updates

    @property
    def value_to_rank(self) -> float | None:
        """The value of the validation of exactly these weights, if there was one."""
        return self.state.validated_value if self.has_these_weights else None

    @property
    def is_out_of_patience(self) -> bool:
        """Whether the best value is as many validations old as checkpoint.patience allows."""
        return 0 < self._choice.patience <= self.state.validations_since_best

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as plain values."""
        return asdict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned.

        Raises:
            CheckpointError: It is something else.
        """
        try:
            self.state = parse_section(ValidationState(), state, "loop.validation")
        except ConfigError as error:
            raise CheckpointError(str(error)) from error

    def _check_best_metric(self) -> None:
        best_metric = self._choice.best_metric
        with self.run.trainer.whole_weights():
            found = self.run.evaluator.names(self._config.splits[0], self._config.generate)
        names = {f"valid_{name}" for name in found}
        if best_metric not in names:
            raise ConfigError(
                f"checkpoint.best_metric ({best_metric!r}) is not among the "
                f"validated values: {', '.join(sorted(names))}. Scores are there with "
                "validation.generate=true."
            )

    def _take(self, value: float) -> bool:
        is_best, state = self._is_better(value), self.state
        if is_best:
            state.best_value = value
        state.validations_since_best = 0 if is_best else state.validations_since_best + 1
        state.validated_update = self.run.trainer.num_updates
        state.validated_value = None if math.isnan(value) else value
        if not math.isnan(value):
            self.run.trainer.lr_scheduler.report_validation(value)
        return is_best

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.state.best_value is None:
            return True
        if self._choice.maximize_best_metric:
            return value > self.state.best_value
        return value < self.state.best_value

    def _write_samples(self, log: LogFanOut) -> None:
        """Logs what the model says to some examples."""
        config, run = self.run.config, self.run
        count = config.logging.samples
        if count and "samples" in config.log_writer and run.collectives.rank == 0:
            rows = validation_samples(run.evaluator, self._config.splits[0], count)
            log.samples(run.trainer.num_updates, rows)

"""Sums up updates between two rows of the log."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from seqtrain.metrics import Mean, Metrics, Percent
from seqtrain.training.trainer import StepResult


class UpdateTracker:
    """Training values over an interval or an epoch.

    Figures of the model and the data are part of the run's state and resume exactly; figures of
    time (wps, ups, wait) are about this process since the last reset.
    """

    def __init__(self, clip_norm: float) -> None:
        self._clip_norm = clip_norm
        self.metrics = Metrics()
        self._targets = torch.zeros((), dtype=torch.float64)
        self._restart_clock(0.0)

    def add(self, result: StepResult) -> None:
        """Takes in one applied update."""
        counts = result.counts
        padding = counts.num_positions - counts.num_tokens
        is_clipped = (result.grad_norm > self._clip_norm) & (self._clip_norm > 0)
        self.metrics.merge(result.metrics)
        self.metrics.merge(
            Metrics(
                {
                    "wpb": Mean(counts.num_targets, 1),
                    "bsz": Mean(counts.num_examples, 1),
                    "gnorm": Mean(result.grad_norm, 1),
                    "clip": Percent(is_clipped, 1),
                    "padding": Percent(padding, counts.num_positions),
                }
            )
        )
        if result.loss_scale is not None:
            self.metrics.merge(Metrics({"loss_scale": Mean(result.loss_scale, 1)}))
        self._updates += 1
        self._targets = self._targets + counts.num_targets

    def __len__(self) -> int:
        """Number of updates since the last reset, over restarts of the run."""
        return int(self.metrics["gnorm"].sums[1]) if "gnorm" in self.metrics else 0

    def values(self, wait_seconds: float) -> dict[str, float]:
        """Returns the values to log.

        Args:
            wait_seconds: Time waited for data since the process began.
        """
        seconds = max(time.monotonic() - self._started - self._paused, 1e-9)
        values = self.metrics.compute()
        values["wps"] = float(self._targets) / seconds
        values["ups"] = self._updates / seconds
        values["wait"] = max(0.0, wait_seconds - self._wait_before)
        return values

    def pause(self, seconds: float) -> None:
        """Leaves out time that was not spent on training: validation, saving."""
        self._paused += seconds

    def reset(self, wait_seconds: float) -> None:
        """Begins the next interval."""
        self.metrics = Metrics()
        self._restart_clock(wait_seconds)

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums, without the clock."""
        return self.metrics.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the sums; the clock starts now."""
        self.metrics = Metrics.from_state_dict(state)
        self._restart_clock(0.0)

    def _restart_clock(self, wait_seconds: float) -> None:
        self._started = time.monotonic()
        self._paused = 0.0
        self._updates = 0
        self._targets = torch.zeros((), dtype=torch.float64)
        self._wait_before = wait_seconds

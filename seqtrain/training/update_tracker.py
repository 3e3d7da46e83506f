"""Sums up updates between two rows of the log."""

import time
from collections.abc import Mapping
from typing import Any

from seqtrain.metrics import Mean, Metric, Metrics, Percent
from seqtrain.training.update import StepResult


class UpdateTracker:
    """Training values over an interval or an epoch.

    Figures of the model and the data are part of the run's state and resume exactly; figures of
    time (wps, ups, wait) are about this process since the last reset.
    """

    def __init__(self, clip_norm: float) -> None:
        self._clip_norm = clip_norm
        self.reset(0.0)

    def add(self, result: StepResult) -> None:
        """Takes in one applied update."""
        counts = result.counts
        self._criterion.merge(result.metrics)
        self._add("wpb", counts.num_targets, 1.0)
        self._add("bsz", counts.num_examples, 1.0)
        self._add("gnorm", result.grad_norm, 1.0)
        self._add("clip", float(result.grad_norm > self._clip_norm > 0.0), 1.0)
        self._add("padding", counts.num_positions - counts.num_tokens, counts.num_positions)
        if result.loss_scale is not None:
            self._add("loss_scale", result.loss_scale, 1.0)
        self._updates += 1
        self._targets += counts.num_targets

    def __len__(self) -> int:
        """Number of updates since the last reset, over restarts of the run."""
        return int(self._mechanics.get("gnorm", (0.0, 0.0))[1])

    @property
    def metrics(self) -> Metrics:
        """All values: the criterion's and those of the training itself."""
        own = {name: _KINDS[name](*sums) for name, sums in self._mechanics.items()}
        return Metrics({**{name: self._criterion[name] for name in self._criterion}, **own})

    def values(self, wait_seconds: float) -> dict[str, float]:
        """Returns the values to log.

        Args:
            wait_seconds: Time waited for data since the process began.
        """
        seconds = max(time.monotonic() - self._started - self._paused, 1e-9)
        values = self.metrics.compute()
        values["wps"] = self._targets / seconds
        values["ups"] = self._updates / seconds
        values["wait"] = max(0.0, wait_seconds - self._wait_before)
        return values

    def pause(self, seconds: float) -> None:
        """Leaves out time that was not spent on training: validation, saving."""
        self._paused += seconds

    def reset(self, wait_seconds: float) -> None:
        """Begins the next interval."""
        self._criterion = Metrics()
        self._mechanics: dict[str, tuple[float, float]] = {}
        self._restart_clock(wait_seconds)

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums, without the clock."""
        return self.metrics.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the sums; the clock starts now."""
        self.reset(0.0)
        saved = Metrics.from_state_dict(state)
        for name in saved:
            if name in _KINDS:
                self._add(name, *saved[name].sums.tolist())
            else:
                self._criterion[name] = saved[name]

    def _add(self, name: str, total: float, weight: float) -> None:
        # Plain numbers: sums of tensors would cost as much as all else around a small model.
        totals, weights = self._mechanics.get(name, (0.0, 0.0))
        self._mechanics[name] = totals + total, weights + weight

    def _restart_clock(self, wait_seconds: float) -> None:
        self._started = time.monotonic()
        self._paused = 0.0
        self._updates = 0
        self._targets = 0.0
        self._wait_before = wait_seconds


_KINDS: dict[str, type[Metric]] = {
    "wpb": Mean,
    "bsz": Mean,
    "gnorm": Mean,
    "clip": Percent,
    "padding": Percent,
    "loss_scale": Mean,
}
"""What the training itself is measured by; a criterion's metrics have other names."""

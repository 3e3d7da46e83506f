from seqtrain.lr_schedulers.fixed import Fixed, FixedConfig
from seqtrain.lr_schedulers.inverse_sqrt import InverseSqrt, InverseSqrtConfig
from seqtrain.lr_schedulers.reduce_lr_on_plateau import (
    ReduceLROnPlateau,
    ReduceLROnPlateauConfig,
)
from seqtrain.training.screens.first_screen import warm_up_note


def test_a_warm_up_that_the_run_does_not_end_is_said() -> None:
    config = InverseSqrtConfig(warmup_updates=4000)
    (line,) = warm_up_note(InverseSqrt(config, peak_lr=1e-3, total_updates=60))
    assert "still rises at the last update, 60, and is 1.5e-05" in line


def test_a_warm_up_within_the_run_needs_no_word() -> None:
    config = InverseSqrtConfig(warmup_updates=50)
    assert warm_up_note(InverseSqrt(config, peak_lr=1e-3, total_updates=60)) == []
    assert warm_up_note(Fixed(FixedConfig(), peak_lr=1e-3, total_updates=60)) == []
    assert warm_up_note(InverseSqrt(config, peak_lr=1e-3)) == []


def test_a_schedule_with_a_state_is_not_asked_about_the_future() -> None:
    config = ReduceLROnPlateauConfig(warmup_updates=100)
    assert warm_up_note(ReduceLROnPlateau(config, peak_lr=1e-3, total_updates=60)) == []

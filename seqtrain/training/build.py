"""Builds a run from its config: the only place that calls every registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seqtrain import rng
from seqtrain.checkpoint.background_writer import CheckpointWriter
from seqtrain.criteria.base import CRITERIA, Criterion
from seqtrain.data.epoch_iterator import EpochIterator
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.context import patience
from seqtrain.distributed.heartbeat import Watchdog
from seqtrain.errors import ConfigError, MachineError, UnfitModelError
from seqtrain.lr_schedulers.grouped import build_schedule
from seqtrain.models.base import MODELS, Model, ModelContext
from seqtrain.optim.averaging import WeightAverage
from seqtrain.optim.base import OPTIMIZERS, OptimizerWrapper
from seqtrain.optim.master_weights import MasterWeights
from seqtrain.optim.precision import Precision
from seqtrain.optim.spread_optimizer import SpreadOptimizer
from seqtrain.optim.zero_optimizer import ZeroOptimizer
from seqtrain.tasks.base import TASKS, Task
from seqtrain.training.batch_statistics import synced_batch_norm
from seqtrain.training.callbacks.base import CALLBACKS, Callback
from seqtrain.training.compilation import compile_passes
from seqtrain.training.criterion_check import require_fitting_targets
from seqtrain.training.evaluator import Evaluator
from seqtrain.training.log_writers.base import LOG_WRITERS, LogWriter
from seqtrain.training.loss_module import LossModule
from seqtrain.training.lr_scaling import with_scaled_lr
from seqtrain.training.model_check import require_fitting_inputs, unfit_model
from seqtrain.training.pass_progress import PassProgress
from seqtrain.training.profiling import Profile, ProfileConfig
from seqtrain.training.run_config import RunConfig
from seqtrain.training.spread import SpreadModule, data_rank, spread_over_ranks
from seqtrain.training.strategy_checks import refuse_unfit_settings
from seqtrain.training.trainer import Trainer
from seqtrain.training.update import UpdateSettings
from seqtrain.training.update_share import share_of_update


@dataclass(kw_only=True)
class Run:
    """The built parts of a run."""

    config: RunConfig
    task: Task
    trainer: Trainer
    iterator: EpochIterator
    evaluator: Evaluator
    callbacks: dict[str, Callback]
    collectives: Collectives

    @property
    def num_shares(self) -> int:
        """Processes with micro-batches of their own."""
        return data_rank(self.config.distributed, self.collectives).world_size

    @property
    def run_dir(self) -> Path:
        """Folder of the run."""
        return Path(self.config.run_dir)

    @property
    def checkpoints(self) -> Path:
        """Folder of the run's checkpoints."""
        return self.run_dir / "checkpoints"


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Returns the device that `device=` means here.

    Raises:
        MachineError: cuda is asked for and not there, or there are fewer GPUs than processes.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise MachineError("device=cuda, but torch sees no GPU here. Use device=cpu or auto.")
    if name == "cpu" or not has_cuda:
        return torch.device("cpu")
    num_gpus = torch.cuda.device_count()
    if local_rank >= num_gpus > 1:
        raise MachineError(
            f"Process {local_rank} of this machine has no GPU of its own: torch sees {num_gpus}. "
            "Start as many processes as GPUs, or use device=cpu."
        )
    # A cluster may show each process its own GPU alone.
    return torch.device("cuda", local_rank if num_gpus > 1 else 0)


def build_task(config: RunConfig) -> Task:
    """Opens the task's data."""
    task: Task = TASKS.get(config.task.name).cls.load(config.task, config.seed)
    return task


def build_model(config: RunConfig, context: ModelContext) -> Model:
    """Builds the model with initial weights that depend on the seed alone."""
    rng.seed(config.seed, "model")
    model: Model = MODELS.get(config.model.name).cls.from_config(config.model, context)
    return model


def build_criterion(config: RunConfig, context: ModelContext) -> Criterion:
    """Builds the criterion."""
    rng.seed(config.seed, "criterion")
    return CRITERIA.get(config.criterion.name).cls(config.criterion, context)


def build_optimizer(
    config: RunConfig,
    named_parameters: list[tuple[str, nn.Parameter]],
    spread: SpreadModule | None = None,
) -> OptimizerWrapper:
    """Builds the optimizer wrapper of parameters on their device, in the configured precision.

    Args:
        config: The run.
        named_parameters: Of the model and the criterion.
        spread: These two, where their parameters lie on several ranks.
    """
    cls: type[OptimizerWrapper] = OPTIMIZERS.get(config.optimizer.name).cls
    if spread is not None:
        return SpreadOptimizer(cls, config.optimizer, named_parameters, spread.norm, spread.add_up)
    if config.precision.parameters == "bf16":
        return MasterWeights(cls, config.optimizer, named_parameters)
    optimizer = cls(config.optimizer, named_parameters)
    if optimizer.needs_closure and config.precision.dtype == "fp16":
        raise ConfigError(
            f"optimizer={config.optimizer.name} computes gradients several times in an update, of "
            "which the loss scale of precision.dtype=fp16 sees only the first. Use bf16 or fp32."
        )
    return optimizer


def build_trainer(
    config: RunConfig, context: ModelContext, device: torch.device, collectives: Collectives
) -> Trainer:
    """Builds the Trainer with all its parts on a device."""
    refuse_unfit_settings(config)
    num_shares = data_rank(config.distributed, collectives).world_size
    config = with_scaled_lr(config, num_shares)
    share = share_of_update(config, num_shares)
    if config.distributed.static_graph and share.own > 1:
        raise ConfigError(
            "distributed.static_graph=true needs one micro-batch for each process and update, got "
            f"{share.own}: torch cannot add up several. Leave it out."
        )
    model = build_model(config, context).to(device)
    if config.distributed.sync_batch_norm:
        synced_batch_norm(model, device)
    criterion = build_criterion(config, context).to(device)
    module = LossModule(model, criterion, reaches_all=not collectives.is_alone)
    spread = spread_over_ranks(module, config.distributed, collectives, device)
    optimizer = build_optimizer(config, _named_parameters(model, criterion), spread)
    if config.distributed.shard_optimizer and not collectives.is_alone:
        optimizer = ZeroOptimizer(optimizer, collectives)
    scheduler = build_schedule(
        config.lr_scheduler, config.optimizer, config.optimization.max_update
    )
    trainer = Trainer(
        model=model,
        criterion=criterion,
        optimizer=optimizer,
        lr_scheduler=scheduler,
        precision=Precision(config.precision, device),
        settings=UpdateSettings(
            seed=config.seed,
            update_freq=share.own,
            micro_batches=share.total,
            clip_norm=config.optimization.clip_norm,
            clip_value=config.optimization.clip_value,
            grad_noise=config.optimization.grad_noise,
            grad_noise_decay=config.optimization.grad_noise_decay,
        ),
        device=device,
        collectives=collectives,
        distributed=config.distributed,
        spread=spread,
        averaging=_build_averaging(config, model, criterion, optimizer),
    )
    if config.optimization.compile:
        compile_passes(trainer.loss_module, config, device)
    return trainer


def build_run(
    config: RunConfig,
    collectives: Collectives,
    device: torch.device,
    watchdog: Watchdog | None = None,
    task: Task | None = None,
) -> Run:
    """Builds all parts of a run; opens data, unless the task is given; writes nothing."""
    task = task or build_task(config)
    try:
        trainer = build_trainer(config, task.context, device, collectives)
    except UnfitModelError as error:
        raise unfit_model(error, task) from error
    trainer.batch_transform = task.batch_transform()
    require_fitting_targets(task, trainer.criterion)
    _check_soft_targets(config, task, trainer.criterion)
    require_fitting_inputs(task, config.model.name, trainer.model)
    if config.generation.lm_weight:
        raise ConfigError(
            "generation.lm_weight needs a language model, which training does not have: give it to "
            "seqtrain-generate or -evaluate, with language_model=RUN."
        )
    trainer.empty_batch = task.dataset("train").empty_batch()
    trainer.writer = _build_writer(config, collectives)
    trainer.watchdog = watchdog
    trainer.criterion.prepare_training(task.state_dict(), device)
    if trainer.spread is not None:
        trainer.evaluated.criterion.prepare_training(task.state_dict(), device)
    share = data_rank(config.distributed, collectives)
    iterator = EpochIterator(
        task.dataset("train"),
        config.dataset,
        seed=config.seed,
        rank=share.rank,
        world_size=share.world_size,
        shuffle=True,
        pin_memory=device.type == "cuda",
    )
    evaluator = Evaluator(
        task=task,
        model=trainer.evaluated.model,
        criterion=trainer.evaluated.criterion,
        precision=trainer.precision,
        device=device,
        dataset=config.dataset,
        generation=config.generation,
        collectives=collectives,
        beat=lambda: trainer.beat("evaluation"),
        progress=PassProgress(
            is_shown=collectives.rank == 0 and "console" in config.log_writer,
            num_processes=collectives.world_size,
        ),
    )
    callbacks = {
        name: CALLBACKS.get(name).cls(section) for name, section in config.callback.items()
    }
    if config.profile and collectives.rank == 0:
        folder = Path(config.run_dir) / "profile"
        callbacks["profile"] = Profile(ProfileConfig(), folder, iterator)
    return Run(
        config=config,
        task=task,
        trainer=trainer,
        iterator=iterator,
        evaluator=evaluator,
        callbacks=callbacks,
        collectives=collectives,
    )


def build_log_writers(config: RunConfig, states: Mapping[str, Any] | None) -> dict[str, LogWriter]:
    """Builds the log writers of the first rank.

    Args:
        config: The run's config.
        states: What each had saved in the checkpoint that is resumed; None at a fresh start.
    """
    return {
        name: LOG_WRITERS.get(name).cls(
            section, Path(config.run_dir), None if states is None else states.get(name, {})
        )
        for name, section in config.log_writer.items()
    }


def _check_soft_targets(config: RunConfig, task: Task, criterion: Criterion) -> None:
    if task.gives_soft_targets and not criterion.reads_soft_targets:
        raise ConfigError(
            f"task={config.task.name} blends training examples, and criterion="
            f"{config.criterion.name} does not read blended targets. Choose "
            "criterion=soft_cross_entropy, or set task.mixup and task.cutmix to 0."
        )


def _build_writer(config: RunConfig, collectives: Collectives) -> CheckpointWriter:
    if not config.checkpoint.background:
        return CheckpointWriter(collectives, in_background=False)
    own = collectives.separate(patience(config.distributed))
    return CheckpointWriter(own, in_background=True)


def _build_averaging(
    config: RunConfig, model: Model, criterion: Criterion, optimizer: OptimizerWrapper
) -> WeightAverage | None:
    if config.ema.kind == "none":
        return None
    modules = {"model": model, "criterion": criterion}
    return WeightAverage(config.ema, modules, optimizer.masters())


def _named_parameters(model: Model, criterion: Criterion) -> list[tuple[str, nn.Parameter]]:
    return [
        *((f"model.{name}", parameter) for name, parameter in model.named_parameters()),
        *((f"criterion.{name}", parameter) for name, parameter in criterion.named_parameters()),
    ]

"""Knowledge distillation: learn from the distributions of a trained model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.checkpoint.load import read_named
from seqtrain.checkpoint.tree import trees_equal
from seqtrain.checkpoint.weights import WEIGHT_PARTS, usable_weights
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.criteria.cross_entropy import real_positions, symbol_metrics
from seqtrain.criteria.target_kinds import CLASSES
from seqtrain.errors import ConfigError
from seqtrain.metrics import Mean
from seqtrain.models.base import MODELS, Model, ModelContext, ModelOutput
from seqtrain.modules.fused_loss import LossOptions, LossSums, logits_loss, loss_dtype
from seqtrain.option_checks import require_range


@dataclass(kw_only=True)
class KnowledgeDistillationConfig(CriterionConfig):
    """Cross entropy with the targets and with the distributions of a teacher."""

    teacher: str = ""
    """Run folder (its best checkpoint) or checkpoint of a model trained on the same task."""
    teacher_weight: float = 0.5
    """Share of the teacher in the loss, 0 to 1; the targets have the rest."""
    temperature: float = 1.0
    """What both models' logits are divided by; above 1, small probabilities count more."""
    report_accuracy: bool = False
    """Also log the percentage of targets that have the highest probability."""

    def __post_init__(self) -> None:
        require_range("criterion.teacher_weight", self.teacher_weight, least=0, most=1)
        require_range("criterion.temperature", self.temperature, above=0)


@register_criterion("knowledge_distillation", config=KnowledgeDistillationConfig)
class KnowledgeDistillation(Criterion):
    """The loss of Hinton, Vinyals and Dean (2015), section 2.

    With w = teacher_weight, T = temperature, the teacher's and the student's distributions q and p
    at T, a target t costs -(1 - w) * log p1(t) + w * T ** 2 * KL(q || p), p1 being p at T = 1. The
    metric "kl" is the divergence alone.

    The teacher is read from its checkpoint when training is prepared, and is no part of the
    checkpoints of this run. Evaluation does without it: the loss is -log p1(t) and "kl" is 0.
    """

    target_kind = CLASSES

    def __init__(self, config: KnowledgeDistillationConfig, context: ModelContext) -> None:
        super().__init__(config, context)
        if not config.teacher:
            raise ConfigError(
                "criterion.teacher is not set: name the run folder or checkpoint of the teacher."
            )
        self._teacher: list[Model] = []  # in a list: neither trained, moved nor saved with this

    @override
    def prepare_training(self, task_state: Mapping[str, Any], device: torch.device) -> None:
        teacher = load_teacher(self.config.teacher, self.context, task_state)
        self._teacher = [teacher.to(device).eval().requires_grad_(False)]

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        config = self.config
        logits, targets = self._logits(model, batch)
        sums = logits_loss(logits, targets, LossOptions(count_correct=config.report_accuracy))
        total, kl = sums.total, torch.zeros_like(sums.total)
        if self.training:
            kl = self._divergence(logits, batch)
            weight = config.teacher_weight
            total = (1.0 - weight) * total + weight * config.temperature**2 * kl
        sums = LossSums(total, sums.nll, sums.num_correct)
        metrics = symbol_metrics(sums, batch.num_targets, config.report_accuracy)
        metrics["kl"] = Mean(kl, batch.num_targets)
        return LossOutput(total, batch.num_targets, metrics)

    def _divergence(self, logits: Tensor, batch: Batch) -> Tensor:
        """Returns KL(teacher || student) at the temperature, summed over targets."""
        if not self._teacher:
            raise RuntimeError("prepare_training must be called before this criterion is trained.")
        with torch.no_grad():
            taught, _ = self._logits(self._teacher[0], batch)
        log_p, log_q = (
            torch.log_softmax(
                values / self.config.temperature, dim=-1, dtype=loss_dtype(values.dtype)
            )
            for values in (logits, taught)
        )
        return (log_q.exp() * (log_q - log_p)).sum()

    def _logits(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        output: ModelOutput = model(**batch.inputs)
        features, targets = real_positions(output.features, batch, self.context.padding_index)
        return output.output_layer(features), targets


def load_teacher(path: str, context: ModelContext, task_state: Mapping[str, Any]) -> Model:
    """Returns the model of a checkpoint of the same task, as evaluation uses it.

    Args:
        path: Run folder or checkpoint.
        context: What the student knows about the data; the teacher is built with the same.
        task_state: What the student's task saves.

    Raises:
        CheckpointError: It cannot be read.
        ConfigError: It was trained with other vocabularies or tokenizers.
    """
    loaded = read_named(Path(path), "criterion.teacher", ("config", "task", *WEIGHT_PARTS))
    if not trees_equal(loaded.parts["task"], task_state):
        raise ConfigError(
            f"criterion.teacher={path} was trained with other vocabularies or tokenizers than this "
            "run's. Train the teacher on the same prepared data."
        )
    section = MODELS.parse(loaded.parts["config"]["model"])
    teacher: Model = MODELS.get(section.name).cls.from_config(section, context)
    teacher.load_state_dict(usable_weights(loaded.parts).model)
    return teacher

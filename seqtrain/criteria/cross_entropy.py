"""Cross entropy of the next symbol."""

from dataclasses import dataclass

from torch import Tensor, nn
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.criteria.base import Criterion, CriterionConfig, LossOutput, register_criterion
from seqtrain.criteria.target_kinds import CLASSES
from seqtrain.metrics import Mean, Metric, Metrics, Percent, Perplexity
from seqtrain.models.base import ModelContext, ModelOutput
from seqtrain.modules.fused_loss import LossOptions, LossSums, linear_loss, logits_loss


@dataclass(kw_only=True)
class CrossEntropyConfig(CriterionConfig):
    """Negative log probability of each target."""

    report_accuracy: bool = False
    """Also log the percentage of targets that have the highest probability."""


@register_criterion("cross_entropy", config=CrossEntropyConfig)
class CrossEntropy(Criterion):
    """Sum of the negative log probabilities of the targets, in nats."""

    target_kind = CLASSES

    @override
    def forward(self, model: nn.Module, batch: Batch) -> LossOutput:
        return symbol_loss(model, batch, self.context, 0.0, self.config.report_accuracy)


def symbol_loss(
    model: nn.Module,
    batch: Batch,
    context: ModelContext,
    label_smoothing: float,
    report_accuracy: bool,
) -> LossOutput:
    """Returns the loss of a model that gives logits over symbols for every target position.

    Only positions with a target go through the output layer. Where that is a plain linear layer,
    layer and loss are computed together, without holding all logits.

    Args:
        model: Gives a ModelOutput for the batch's inputs.
        batch: Its targets are symbol ids, [batch, time], with padding where there is none.
        context: Tells the padding symbol.
        label_smoothing: See LabelSmoothedCrossEntropyConfig.
        report_accuracy: Add the metric "accuracy".
    """
    output: ModelOutput = model(**batch.inputs)
    features, targets = real_positions(output.features, batch, context.padding_index)
    options = LossOptions(label_smoothing=label_smoothing, count_correct=report_accuracy)
    layer = output.output_layer
    # An exact type check: subclasses and sharded weights have a forward of their own.
    if type(layer) is nn.Linear and type(layer.weight) is nn.Parameter:
        sums = linear_loss(features, layer, targets, options)
    else:
        sums = logits_loss(layer(features), targets, options)
    metrics = symbol_metrics(sums, batch.num_targets, report_accuracy)
    return LossOutput(sums.total, batch.num_targets, metrics, output)


def real_positions(features: Tensor, batch: Batch, padding_index: int) -> tuple[Tensor, Tensor]:
    """Returns the features and the targets of the positions that have a target.

    Args:
        features: [batch, ..., dim].
        batch: Its targets are [batch, ...], with padding where there is none.
        padding_index: The padding symbol.

    Returns:
        [targets, dim] and int64 [targets].
    """
    targets = batch.targets.flatten()
    # The number is known on the host, so that no device waits for it.
    rows = targets.ne(padding_index).nonzero_static(size=batch.num_targets).squeeze(1)
    return features.flatten(0, -2).index_select(0, rows), targets.index_select(0, rows)


def symbol_metrics(sums: LossSums, num_targets: int, report_accuracy: bool) -> Metrics:
    """Returns what a loss over symbols logs: loss, nll_loss, ppl and, if asked for, accuracy."""
    values: dict[str, Metric] = {
        "loss": Mean(sums.total, num_targets),
        "nll_loss": Mean(sums.nll, num_targets),
        "ppl": Perplexity(sums.nll, num_targets),
    }
    if report_accuracy:
        values["accuracy"] = Percent(sums.num_correct, num_targets)
    return Metrics(values)

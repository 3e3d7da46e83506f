"""Segmentation: a class for each position of a sequence of numbers or symbols, or of an image."""

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from seqtrain.batch import Batch
from seqtrain.data.labelled.dataset import ExampleTransform, LabelledDataset
from seqtrain.data.labelled.info import VALUES
from seqtrain.data.labelled.random_views import PieceStore, RandomView
from seqtrain.data.labelled.store import IGNORED, LabelledStore
from seqtrain.errors import ConfigError
from seqtrain.metrics import Metrics
from seqtrain.models.base import ModelContext, ModelOutput
from seqtrain.option_checks import require_choice, require_fields, require_range
from seqtrain.tasks.base import register_task
from seqtrain.tasks.class_metrics import Confusion
from seqtrain.tasks.label_spans import SCHEMES, SpanScheme, boundary_f1, listed_spans, span_f1
from seqtrain.tasks.labelled_task import LabelledTask, LabelledTaskConfig
from seqtrain.tasks.segmentation_metrics import ABSENT_RULES, segmentation_metrics
from seqtrain.tasks.segmentation_views import AveragedViews, Tiles, real_region

AXES = {1: ["time"], 2: ["height", "width"]}
"""Names of the positions' axes by their number."""


@dataclass(kw_only=True)
class SegmentationTaskConfig(LabelledTaskConfig):
    """Examples with a label for each position: tagging of tokens, segmentation of images."""

    ignore_label: str = "-1"
    """Label of positions that do not count."""
    crop: int = 0
    """Training takes random pieces of so many positions along each side; 0 takes whole examples.
    An epoch takes as many pieces of each example as fit into it."""
    repeat: int = 1
    """An epoch takes so many times that many."""
    flips: list[str] = field(default_factory=list)
    """Axes that training mirrors in half of the cases: time, or height and width."""
    scales: list[float] = field(default_factory=list)
    """Training resizes examples by a random factor between these two, as [0.5,2]; empty for none.
    For numbers only."""
    test_flips: list[str] = field(default_factory=list)
    """Evaluation averages over mirrored examples, along every choice of these axes."""
    test_scales: list[float] = field(default_factory=list)
    """Evaluation averages over examples of these further sizes too, as [0.75,1.25]."""
    tile: int = 0
    """Evaluation reads examples that are larger than this along a side in pieces; 0 reads them
    whole."""
    tile_margin: int = 64
    """Context that is read on each side of such a piece, in positions."""
    absent_classes: str = "skip"
    """What a class that neither occurs nor is predicted counts in mean IoU: skip, or zero for 0
    percent."""
    spans: str = ""
    """Also score spans of sequences: bio (classes O, B-kind, I-kind, or B and I), or runs
    (neighbours of one class); empty for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_fields("task", self, "crop", "tile", "tile_margin", "patch_size", least=0)
        if self.patch_size:
            raise ConfigError(
                "task.patch_size is for images with one label; with a label for each pixel leave "
                "it 0 and choose a model of images, as model=conv_segmenter."
            )
        require_range("task.repeat", self.repeat, least=1)
        in_order = len(self.scales) == 2 and 0.0 < self.scales[0] <= self.scales[1]
        if self.scales and not in_order:
            raise ConfigError(
                "task.scales must be a smallest and a largest factor, as [0.5,2], got "
                f"{self.scales}."
            )
        if not all(scale > 0.0 for scale in self.test_scales):
            raise ConfigError(f"task.test_scales must be positive, got {self.test_scales}.")
        require_choice("task.absent_classes", self.absent_classes, ABSENT_RULES)
        require_choice("task.spans", self.spans, ("", *SCHEMES))


@register_task("segmentation", config=SegmentationTaskConfig)
class SegmentationTask(LabelledTask):
    """Sequences of numbers or symbols, or images, with a class for each position."""

    per_position = True

    @property
    @override
    def context(self) -> ModelContext:
        return replace(super().context, position_rank=self.info.rank)

    @override
    def make_dataset(
        self, store: LabelledStore, transform: ExampleTransform | None
    ) -> LabelledDataset:
        if transform is not None:
            store = PieceStore(store, self.config.crop, self.config.repeat)
        return LabelledDataset(store, transform=transform, seed=self.seed)

    @override
    def train_transform(self) -> ExampleTransform | None:
        scales: list[float] = self.config.scales
        if scales:
            self._require_numbers("scales")
        view = RandomView(self.config.crop, self._axes("flips"), tuple(scales))
        is_used = view != RandomView() or self.config.repeat > 1
        return view if is_used else None

    @override
    def evaluation_model(self, model: nn.Module) -> nn.Module:
        config = self.config
        if config.tile:
            model = Tiles(model, config.tile, config.tile_margin)
        if config.test_scales or config.test_flips:
            self._require_numbers("test_scales and test_flips")
            model = AveragedViews(model, config.test_scales, self._axes("test_flips"))
        return model

    @override
    def measure(self, output: ModelOutput, batch: Batch) -> Metrics:
        predicted, classes = output.logits.argmax(dim=-1), self.info.classes
        absent: str = self.config.absent_classes
        metrics = segmentation_metrics(predicted, batch.targets, IGNORED, classes, absent)
        if scheme := self._scheme():
            is_real = batch.targets.ne(IGNORED)
            true = scheme.marks(batch.targets, is_real)
            found = scheme.marks(predicted, is_real)
            metrics["span"] = span_f1(true, found)
            metrics["boundary"] = boundary_f1(true, found, is_real)
        return metrics

    @override
    def tables(self, metrics: Metrics) -> dict[str, Any]:
        for found in (metrics[name] for name in metrics if name == "confusion"):
            if isinstance(found, Confusion):
                rows = found.rows()
                return {"confusion": {"classes": self.info.classes, "true_by_predicted": rows}}
        return {}

    @override
    def predict(self, output: ModelOutput, batch: Batch) -> list[dict[str, Any]]:
        predicted = output.logits.argmax(dim=-1)
        is_real = ~batch.inputs["padding_mask"]
        scheme = self._scheme()
        marks = scheme.marks(predicted, is_real) if scheme else None
        rows: list[dict[str, Any]] = []
        for index in range(batch.num_examples):
            region = real_region(~is_real[index])
            row: dict[str, Any] = {"labels": self._named(predicted[index][region])}
            if scheme and marks:
                row["spans"] = listed_spans(marks, index, scheme.names)
            rows.append(row)
        return rows

    def _named(self, classes: Tensor) -> list[Any]:
        if classes.dim() > 1:
            return [self._named(row) for row in classes]
        return [self.info.classes[index] for index in classes.tolist()]

    def _scheme(self) -> SpanScheme | None:
        if not self.config.spans:
            return None
        if self.info.rank != 1:
            raise ConfigError("task.spans is for sequences; the examples are images. Leave it out.")
        return SpanScheme.of_classes(self.config.spans, self.info.classes)

    def _axes(self, key: str) -> tuple[int, ...]:
        known, names = AXES[self.info.rank], getattr(self.config, key)
        for name in names:
            if name not in known or names.count(name) > 1:
                raise ConfigError(
                    f"task.{key} may name each of {', '.join(known)} once here, got {names}."
                )
        return tuple(known.index(name) for name in names)

    def _require_numbers(self, key: str) -> None:
        if self.info.kind != VALUES:
            raise ConfigError(f"task.{key} change numbers; the examples are symbols. Leave it out.")

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import run_in_processes
from strategy_runs import WITH_EVERYTHING, Sections, Trained, build, merged, train
from toy_run import write_toy_text

from seqtrain.distributed.blocks import local_part, whole_of
from seqtrain.distributed.collectives import Collectives
from seqtrain.distributed.meshes import Meshes
from seqtrain.distributed.tensor_parallel import split_layers
from seqtrain.errors import ConfigError
from seqtrain.models.base import Model, ModelContext
from seqtrain.models.transformer_lm import TransformerLM, TransformerLMConfig

TENSOR: Sections = {"distributed": {"tensor_parallel": 2}}
BOTH: Sections = {"distributed": {"tensor_parallel": 2, "strategy": "fsdp"}}
SGD: Sections = {"optimizer": {"name": "sgd", "lr": 0.3}}
"""Adam would make the rounding of gradients that are truly zero grow."""
SYMBOLS = ModelContext(target_vocab_size=11)


def train_each(
    collectives: Collectives, text: Path, variants: list[Sections]
) -> list[tuple[Trained, dict[str, float]]]:
    """Trains six updates of two micro-batches, and validates with search."""
    results = []
    for sections in variants:
        run = build(collectives, text, merged(WITH_EVERYTHING, SGD, sections))
        trained = train(run, 6)
        with run.trainer.evaluation_weights():
            values = run.evaluator.evaluate("valid", generate=True).values
        results.append((trained, values))
    return results


def language_model(**fields: Any) -> Model:
    torch.manual_seed(3)
    settings = {"dim": 16, "num_heads": 4, "dropout": 0.0} | fields
    return TransformerLM.from_config(TransformerLMConfig(**settings), SYMBOLS)


def loss_and_gradients(model: Model) -> tuple[float, dict[str, list[float]]]:
    tokens = torch.tensor([[2, 4, 5, 10, 0], [2, 9, 8, 1, 1]])
    logits = model(prev_output_tokens=tokens).logits
    loss = logits.log_softmax(dim=2)[..., 7].sum()
    loss.backward()
    named = {name: (p, local_part(p.grad)) for name, p in model.named_parameters()}
    return loss.item(), {name: whole_of(p, g).tolist() for name, (p, g) in named.items()}


def split_language_models(
    collectives: Collectives, fields: list[dict[str, Any]]
) -> list[tuple[float, dict[str, list[float]]]]:
    mesh = Meshes("cpu", collectives, 2).tensor
    results = []
    for chosen in fields:
        model = language_model(**chosen)
        split_layers(model, model.tensor_parallel_plan(2), mesh)
        results.append(loss_and_gradients(model))
    return results


def test_a_language_model_that_is_divided_has_the_same_loss_and_gradients() -> None:
    fields: list[dict[str, Any]] = [
        {},
        {"num_key_heads": 2, "positions": "learned", "tie_embeddings": False, "norm": "post"},
        {"activation": "relu", "bias": False, "norm_type": "rmsnorm", "positions": "sinusoidal"},
    ]
    for results in run_in_processes(split_language_models, 2, fields, timeout_seconds=300.0):
        for chosen, result in zip(fields, results, strict=True):
            expected = loss_and_gradients(language_model(**chosen))
            torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "size", "message"),
    [
        ({}, 3, r"model.num_key_heads \(4\) must be a multiple of distributed.tensor_parallel"),
        ({"attention_dropout": 0.1}, 2, "model.attention_dropout must be 0"),
        ({"activation_dropout": 0.1}, 2, "model.activation_dropout must be 0"),
        ({"activation": "swiglu"}, 2, "model.activation=swiglu packs two layers into one"),
    ],
)
def test_what_cannot_be_divided_is_refused(fields: dict[str, Any], size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        language_model(**fields).tensor_parallel_plan(size)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    text = write_toy_text(tmp_path_factory.mktemp("tensor") / "text")
    whole: Sections = {"optimization": {"update_freq": 2}}
    alone = train_each(Collectives(), text, [whole])
    two = run_in_processes(train_each, 2, text, [merged(TENSOR, whole)], timeout_seconds=300.0)
    four = run_in_processes(train_each, 4, text, [TENSOR, BOTH], timeout_seconds=300.0)
    return alone, two, four


@pytest.mark.parametrize("kind", ["alone", "with ddp", "with fsdp"])
def test_processes_that_share_layers_train_as_one_up_to_rounding(
    runs: tuple[Any, Any, Any], kind: str
) -> None:
    ((expected, expected_values),), two, four = runs
    index = {"alone": 0, "with ddp": 0, "with fsdp": 1}[kind]
    ranks = [rank[index] for rank in (two if kind == "alone" else four)]
    for trained, values in ranks:
        assert trained.weights == ranks[0][0].weights
        np.testing.assert_allclose(trained.losses, expected.losses, rtol=1e-5)
        np.testing.assert_allclose(trained.norms, expected.norms, rtol=1e-4)
        assert values == ranks[0][1]
        assert values == pytest.approx(expected_values, rel=1e-4)
        for part in ("weights", "average"):
            for name, content in getattr(expected, part).items():
                np.testing.assert_allclose(
                    np.frombuffer(getattr(trained, part)[name], np.float32),
                    np.frombuffer(content, np.float32),
                    rtol=1e-4,
                    atol=2e-5,
                    err_msg=name,
                )

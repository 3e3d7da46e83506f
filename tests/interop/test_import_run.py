"""Models of fairseq, imported, say what fairseq says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtrain.errors import CheckpointError, ConfigError, DataError, SeqtrainError
from seqtrain.interop.import_run import ImportRequest, import_fairseq
from seqtrain.pipeline import Pipeline, load
from seqtrain.plugins import import_built_ins

MODELS = Path(__file__).parent / "fairseq_models"
NAMES = ["pre", "learned", "noscale", "lstm"]

import_built_ins()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds an imported run for each model."""
    folder = tmp_path_factory.mktemp("runs")
    for name in NAMES:
        import_fairseq(request(name, folder / name))
    return folder


def request(name: str, out: Path, **changes: Any) -> ImportRequest:
    made = ImportRequest(MODELS / f"{name}.pt", MODELS, out, is_trusted=True)
    return replace(made, **changes)


def figures(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text())
    return found


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, runs: Path) -> tuple[Pipeline, dict[str, Any]]:
    return load(runs / request.param, "cpu"), figures(request.param)


Model = tuple[Pipeline, dict[str, Any]]


def test_an_imported_model_scores_references_as_fairseq_does(model: Model) -> None:
    pipeline, expected = model
    task = pipeline.task_with_data()
    found = dict(pipeline.references_of_split(task, "test", pipeline.config.generation))
    for index, scores in enumerate(expected["references"]):
        own = torch.tensor(found[index][0].token_scores)
        torch.testing.assert_close(own, torch.tensor(scores), rtol=0, atol=5e-6)


def test_an_imported_model_generates_what_fairseq_does(model: Model) -> None:
    pipeline, expected = model
    generation = replace(pipeline.config.generation, beam=3, nbest=3, max_len_b=12)
    task = pipeline.task_with_data()
    found = dict(pipeline.hypotheses_of_split(task, "test", generation))
    for index, hypotheses in enumerate(expected["hypotheses"]):
        assert [h.tokens for h in found[index]] == [h["tokens"] for h in hypotheses]
        for own, theirs in zip(found[index], hypotheses, strict=True):
            assert own.score == pytest.approx(theirs["score"], abs=5e-6)


def test_an_imported_run_says_where_it_is_from_and_what_it_was(runs: Path) -> None:
    pipeline = load(runs / "pre", "cpu")
    assert pipeline.path.name == "step-0000000007"
    about = json.loads((pipeline.path / "manifest.json").read_text())["about"]
    assert about["imported"]["from"].endswith("pre.pt")
    config = json.loads((runs / "pre/config.json").read_text())
    assert config["task"]["source"] == "x"
    assert config["criterion"] == {"name": "label_smoothed_cross_entropy", "label_smoothing": 0.1,
                                   "report_accuracy": False}  # fmt: skip
    assert config["model"]["share_embeddings"] == "decoder"


def saved(folder: Path, name: str, change: Any) -> Path:
    """Saves a model again after a change of its dictionary."""
    with torch.serialization.safe_globals([__import__("argparse").Namespace]):
        checkpoint = torch.load(MODELS / f"{name}.pt", weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, folder / "changed.pt")
    return folder / "changed.pt"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "pre",
            lambda c: c["model"].update({"encoder.new": torch.ones(2)}),
            "'encoder.new' has no",
        ),
        (
            "pre",
            lambda c: c["model"].pop("encoder.layer_norm.bias"),
            "'encoder.layer_norm.bias' is",
        ),
        ("pre", lambda c: setattr(c["args"], "layernorm_embedding", True), "layernorm_embedding"),
        ("pre", lambda c: setattr(c["args"], "decoder_attention_heads", 4), "heads=4 differ"),
        ("pre", lambda c: setattr(c["args"], "activation_fn", "tanh"), "model.activation must"),
        ("lstm", lambda c: c["model"].pop("decoder.attention.input_proj.weight"), "is missing"),
        ("lstm", lambda c: c.update(model={"w": torch.ones(1)}), "'lstm' is not imported"),
        ("lstm", lambda c: c.pop("model"), "no dictionary with the key 'model'"),
        ("lstm", lambda c: c["model"].update({"w": torch.ones(3, 2).T}), "not lie row by row"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_that_cannot_be_imported_says_which_part(
    tmp_path: Path, name: str, change: Any, message: str
) -> None:
    path = saved(tmp_path, name, change)
    with pytest.raises(SeqtrainError, match=message):
        import_fairseq(request(name, tmp_path / "run", checkpoint=path))
    assert not (tmp_path / "run").exists()


def test_data_with_another_dictionary_is_refused(tmp_path: Path) -> None:
    for path in MODELS.glob("test.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for side in "xy":
        text = (MODELS / f"dict.{side}.txt").read_text()
        (tmp_path / f"dict.{side}.txt").write_text(text + "more 1\n")
    with pytest.raises(DataError, match="24 source symbols, the dictionary in .* 25"):
        import_fairseq(request("pre", tmp_path / "run", data=tmp_path))


def test_a_folder_without_binarised_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder of fairseq-preprocess"):
        import_fairseq(request("pre", tmp_path / "run", data=tmp_path))


def test_a_run_is_not_written_over(runs: Path) -> None:
    with pytest.raises(ConfigError, match="holds checkpoints already"):
        import_fairseq(request("pre", runs / "pre"))


def test_without_trust_nothing_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trust=true only if you know where the file is from"):
        import_fairseq(request("pre", tmp_path / "run", is_trusted=False))


def test_a_damaged_file_is_one_clear_error(tmp_path: Path) -> None:
    data = (MODELS / "learned.pt").read_bytes()
    for size in (0, 3, 100, len(data) // 2):
        (tmp_path / "cut.pt").write_bytes(data[:size])
        with pytest.raises(CheckpointError, match="cut.pt cannot be imported"):
            import_fairseq(request("pre", tmp_path / "run", checkpoint=tmp_path / "cut.pt"))


def test_given_lines_are_scored_as_the_same_examples_of_a_split(runs: Path) -> None:
    pipeline = load(runs / "lstm", "cpu")
    dataset = pipeline.task_with_data().dataset("test")
    batch = dataset.batch(torch.tensor([0]).numpy(), 1)
    symbols = pipeline.task.vocabularies()
    source, target = (
        " ".join(symbols[side][i] for i in row[:-1])
        for side, row in (
            ("source", batch.inputs["source_tokens"][0].tolist()),
            ("target", batch.targets[0].tolist()),
        )
    )
    (scored,) = pipeline.score([source], [target])
    expected = figures("lstm")["references"][0]
    assert scored.text == target
    assert scored.token_scores == pytest.approx(expected, abs=5e-6)
    assert scored.score == pytest.approx(sum(expected) / len(expected), abs=5e-6)
    with pytest.raises(TypeError, match="put it in"):
        pipeline.score("a1", "b1")


def test_samples_are_drawn_by_seed(runs: Path) -> None:
    pipeline = load(runs / "lstm", "cpu")
    first, again, other = (
        pipeline.sample(["a1 a2", "a3"], count=3, max_len_b=6, seed=seed) for seed in (1, 1, 2)
    )
    assert [len(texts) for texts in first] == [3, 3]
    assert first == again != other

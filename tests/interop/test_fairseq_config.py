"""A configuration of fairseq-hydra-train, translated: nothing vanishes without a word."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seqtrain.errors import ConfigError, DataError
from seqtrain.interop.fairseq_config import read_fairseq_yaml, translate
from seqtrain.plugins import import_built_ins
from seqtrain.training.run_config import RunConfig

import_built_ins()

FAIRSEQ = """
common: {fp16: true, log_interval: 200, seed: 4, tensorboard_logdir: tb}
checkpoint: {save_dir: runs/x, save_interval_updates: 500, patience: -1,
  best_checkpoint_metric: loss}
task: {_name: translation, data: data-bin, source_lang: en, target_lang: de, eval_bleu: true}
dataset: {max_tokens: 4096, num_workers: 2, train_subset: train}
criterion: {_name: label_smoothed_cross_entropy, label_smoothing: 0.2}
optimization: {max_update: 1000, clip_norm: 0.5, lr: [0.0007], update_freq: [2],
  sentence_avg: false}
optimizer: {_name: adam, adam_betas: "(0.9, 0.98)", adam_eps: 1.0e-08, weight_decay: 0.01}
lr_scheduler: {_name: inverse_sqrt, warmup_updates: 400, warmup_init_lr: 1.0e-07}
model:
  _name: transformer
  encoder_embed_dim: 32
  decoder_embed_dim: 32
  encoder_ffn_embed_dim: 64
  decoder_ffn_embed_dim: 48
  encoder_attention_heads: 4
  decoder_attention_heads: 4
  encoder_normalize_before: true
  decoder_normalize_before: true
  share_decoder_input_output_embed: true
  dropout: 0.3
  quant_noise_pq: 0
"""


def test_what_has_a_counterpart_is_translated_and_makes_a_run() -> None:
    made = translate(OmegaConf.to_container(OmegaConf.create(FAIRSEQ)))
    config = RunConfig.parse(made.container)
    assert (config.run_dir, config.seed, config.task.data) == ("runs/x", 4, "data-bin")
    assert (config.task.source, config.task.target) == ("en", "de")
    assert (config.model.dim, config.model.norm, config.model.num_heads) == (32, "pre", 4)
    assert config.model.share_embeddings == "decoder"
    assert (config.optimizer.lr, config.optimizer.betas) == (0.0007, [0.9, 0.98])
    assert config.optimization.update_freq == 2
    assert config.precision.dtype == "fp16"
    assert config.criterion.label_smoothing == 0.2
    assert (config.checkpoint.patience, config.checkpoint.best_metric) == (0, "valid_loss")


def test_every_other_key_is_named_with_a_reason() -> None:
    made = translate(OmegaConf.to_container(OmegaConf.create(FAIRSEQ)))
    assert made.dropped.keys() == {
        "common.tensorboard_logdir",
        "dataset.train_subset",
        "lr_scheduler.warmup_init_lr",
        "model.decoder_ffn_embed_dim",
        "model.encoder_ffn_embed_dim",
        "model.quant_noise_pq",
        "optimization.sentence_avg",
        "task.eval_bleu",
    }
    assert made.dropped["model.encoder_ffn_embed_dim"] == "encoder and decoder differ ([64, 48])"


def test_a_component_without_a_counterpart_drops_its_options_by_name() -> None:
    made = translate(
        {"model": {"_name": "wav2vec2", "dropout": 0.1}, "optimization": {"lr": [1, 2]}}
    )
    assert made.container == {"optimization": {"clip_norm": 0.0}}
    assert made.dropped == {
        "model._name": "no counterpart ('wav2vec2')",
        "model.dropout": "the model has no counterpart",
        "optimization.lr": "one rate for each epoch ([1, 2]); see lr_scheduler=manual",
    }


def test_the_text_is_an_experiment(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(FAIRSEQ)
    text = read_fairseq_yaml(tmp_path / "f.yaml").to_yaml("f.yaml")
    assert text.startswith("# @package _global_\n# Translated from f.yaml.\n# Dropped:\n#   ")
    parsed = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(parsed, dict)
    assert {"override /model": "transformer"} in parsed["defaults"]
    assert parsed["dataset"] == {"max_tokens": 4096, "num_workers": 2}


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "\x00"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(DataError, match=r"f.yaml: "):
        read_fairseq_yaml(tmp_path / "f.yaml")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="config=.*no.yaml cannot be read"):
        read_fairseq_yaml(tmp_path / "no.yaml")


def test_what_a_file_leaves_out_is_as_fairseq_takes_it() -> None:
    kinds = {
        "task": "translation",
        "model": "transformer_iwslt_de_en",
        "criterion": "label_smoothed_cross_entropy",
        "optimizer": "adam",
        "lr_scheduler": "inverse_sqrt",
    }
    made = translate({kind: {"_name": name} for kind, name in kinds.items()})
    config = RunConfig.parse(made.container)
    model = config.model
    assert (model.dim, model.ffn_dim, model.num_heads) == (512, 1024, 4)
    assert (model.encoder_layers, model.norm, model.positions) == (6, "post", "fairseq")
    assert (model.share_embeddings, config.criterion.label_smoothing) == ("none", 0.0)
    assert config.optimizer.betas == [0.9, 0.999]
    assert made.dropped == {}

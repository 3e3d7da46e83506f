"""The Hugging Face Trainer with a Marian model of the same shape, as a peer of the benchmark."""

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler
from training_work import DROPOUT, EOS, LABEL_SMOOTHING, MODELS, PADDING, VOCAB_SIZE, Work
from transformers import MarianConfig, MarianMTModel, Trainer, TrainerCallback, TrainingArguments


def train(work: Work, dtype: str, step_done: Callable[[int], bool]) -> None:
    """Trains until `step_done`, which gets the targets of each update, returns False."""
    model = MODELS["translation"]
    config = MarianConfig(
        vocab_size=VOCAB_SIZE,
        d_model=model["dim"],
        encoder_layers=model["encoder_layers"],
        decoder_layers=model["decoder_layers"],
        encoder_ffn_dim=model["ffn_dim"],
        decoder_ffn_dim=model["ffn_dim"],
        encoder_attention_heads=model["num_heads"],
        decoder_attention_heads=model["num_heads"],
        activation_function="relu",
        dropout=DROPOUT,
        attention_dropout=0.0,
        activation_dropout=0.0,
        scale_embedding=True,
        pad_token_id=PADDING,
        eos_token_id=EOS,
        decoder_start_token_id=EOS,
        forced_eos_token_id=None,
    )
    num_targets: list[int] = []

    def collate(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        source, targets = batches[0]["source_tokens"], batches[0]["targets"]
        num_targets.append(int(targets.ne(PADDING).sum()))
        return {
            "input_ids": source,
            "attention_mask": source.ne(PADDING).long(),
            "decoder_input_ids": batches[0]["prev_output_tokens"],
            "labels": targets.masked_fill(targets == PADDING, -100),
        }

    class Report(TrainerCallback):
        num_steps = 0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = not step_done(num_targets[self.num_steps])
            self.num_steps += 1

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(work.batches)

    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            bf16=dtype == "bf16",
            per_device_train_batch_size=1,
            max_steps=1_000_000,
            learning_rate=1e-3,
            adam_beta2=0.98,
            lr_scheduler_type="inverse_sqrt",
            warmup_steps=4000,
            label_smoothing_factor=LABEL_SMOOTHING,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        InOrder(
            model=MarianMTModel(config),
            args=arguments,
            train_dataset=work.batches,
            data_collator=collate,
            callbacks=[Report()],
        ).train()

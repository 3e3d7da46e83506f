"""A model in the layout of transformers, which then loads it without this package."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from seqtrain.errors import ConfigError
from seqtrain.generation.base import GenerationConfig
from seqtrain.interop.export_folder import write_json
from seqtrain.interop.huggingface_decoder import decoder_layout
from seqtrain.interop.huggingface_encoder_decoder import encoder_decoder_layout
from seqtrain.interop.huggingface_layout import Layout
from seqtrain.interop.huggingface_tokenizer import write_tokenizers
from seqtrain.models.base import EncoderDecoderModel, ModelContext
from seqtrain.models.transformer import TransformerModel
from seqtrain.models.transformer_lm import TransformerLM
from seqtrain.pipeline import Pipeline


def write_huggingface(pipeline: Pipeline, folder: Path) -> list[str]:
    """Writes weights, config, options of search and tokenizers; returns what people should know.

    Raises:
        ConfigError: transformers has no such model.
    """
    layout = _layout(pipeline)
    context = pipeline.task.context
    config = layout.config | {
        "architectures": [layout.architecture],
        "dtype": "float32",
        **_special_ids(pipeline),
    }
    write_json(folder / "config.json", config)
    max_positions = pipeline.config.model.max_positions
    generation, notes = _generation(pipeline.config.generation, context, max_positions)
    write_json(folder / "generation_config.json", generation | _special_ids(pipeline))
    weights = folder / "model.safetensors"
    _save(layout.weights, weights)
    weights.chmod((folder / "config.json").stat().st_mode)  # else it is for its owner alone
    notes += write_tokenizers(pipeline.task, folder, max_positions)
    return [f"transformers loads it as {layout.architecture}.", *notes]


def _layout(pipeline: Pipeline) -> Layout:
    model = pipeline.model
    # Not isinstance: a class of a plug-in may compute something else.
    if type(model) is TransformerModel:
        return encoder_decoder_layout(pipeline.config.model, model)
    if type(model) is TransformerLM:
        return decoder_layout(pipeline.config.model, model)
    raise ConfigError(
        f"format=huggingface: transformers has no model like model={pipeline.config.model.name}; "
        "it has for transformer and transformer_lm. Use format=safetensors, torch_export or onnx."
    )


def _special_ids(pipeline: Pipeline) -> dict[str, int]:
    context = pipeline.task.context
    is_pair = isinstance(pipeline.model, EncoderDecoderModel)
    ids = {
        # What a text begins with is eos here; bos is never read.
        "bos_token_id": context.bos_index if is_pair else context.eos_index,
        "eos_token_id": context.eos_index,
        "pad_token_id": context.padding_index,
    }
    return ids | ({"decoder_start_token_id": context.eos_index} if is_pair else {})


def _generation(
    config: GenerationConfig, context: ModelContext, max_positions: int
) -> tuple[dict[str, Any], list[str]]:
    """Returns generation_config.json for the run's own options of search, and what it leaves out.

    Args:
        config: Options of the run.
        context: Special symbols.
        max_positions: Of the model.
    """
    options: dict[str, Any] = {
        "max_new_tokens": min(config.max_len_b + 1, max_positions),  # theirs counts eos
        "min_new_tokens": config.min_len,
        "forced_eos_token_id": context.eos_index,
        "suppress_tokens": [context.bos_index, context.padding_index],
        "num_beams": config.beam,
    }
    notes = []
    if config.max_len_a:
        longest = int(config.max_len_a * max_positions) + config.max_len_b + 1
        options["max_new_tokens"] = min(longest, max_positions)
        notes.append(
            f"generation.max_len_a={config.max_len_a:g} has no counterpart: outputs have up to "
            f"{options['max_new_tokens']} symbols, whatever the length of the input."
        )
    if config.no_repeat_ngram_size and not config.fairseq_ngrams:
        options["no_repeat_ngram_size"] = config.no_repeat_ngram_size
    if config.sampling:
        options |= {
            "do_sample": True,
            "num_beams": 1,
            "num_return_sequences": config.nbest,
            "temperature": config.temperature,
            "top_k": config.sampling_topk,
            "top_p": config.sampling_topp,
        }
    elif config.beam > 1:
        options |= {"length_penalty": config.lenpen, "early_stopping": True}
    return options, notes


def _save(weights: dict[str, Tensor], path: Path) -> None:
    # Tensors of their own: parts of a packed weight share its memory.
    plain = {
        name: tensor.detach().float().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in weights.items()
    }
    save_file(plain, path, metadata={"format": "pt"})

"""fairseq's LSTM for translation as `model=lstm_input_feeding`."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from seqtrain.interop.fairseq_weights import ConvertedModel, ForeignTensors


def convert_lstm(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> ConvertedModel:
    """Returns our LSTM with input feeding that has fairseq's weights.

    Args:
        tensors: fairseq's state dict.
        settings: fairseq's settings by name.

    Raises:
        CheckpointError: It uses an option that is not imported.
    """
    left = ForeignTensors(tensors)
    left.rename(r"decoder\.fc_out\.(weight|bias)", r"decoder.output_projection.\1")
    sharing, weights = left.take_embeddings()
    layers = left.num_layers("decoder.layers.")
    section = {
        "name": "lstm_input_feeding",
        "encoder_dim": weights["encoder.embed_tokens.weight"].size(1),
        "encoder_hidden_dim": left.left["encoder.lstm.weight_hh_l0"].size(1),
        "bidirectional": "encoder.lstm.weight_ih_l0_reverse" in left.left,
        "decoder_dim": weights["decoder.embed_tokens.weight"].size(1),
        "decoder_hidden_dim": left.left["decoder.layers.0.weight_hh"].size(1),
        "output_dim": weights["decoder.output_projection.weight"].size(1),
        "num_layers": layers,
        "share_embeddings": sharing,
        "output_bias": "decoder.output_projection.bias" in left.left,
        "dropout": settings.get("dropout") or 0.0,
    }
    # All other names and layouts are fairseq's.
    expected = _names(section)
    weights |= {name: left.take(name) for name in expected}
    left.require_none_left("lstm_input_feeding")
    return ConvertedModel(section, weights)


def _names(section: Mapping[str, Any]) -> list[str]:
    sources = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    directions = ["", "_reverse"] if section["bidirectional"] else [""]
    names = [
        f"encoder.lstm.{source}_l{index}{direction}"
        for index in range(section["num_layers"])
        for source in sources
        for direction in directions
    ]
    names += [
        f"decoder.layers.{index}.{source}"
        for index in range(section["num_layers"])
        for source in sources
    ]
    names += ["decoder.attention.input_proj.weight", "decoder.attention.output_proj.weight"]
    linears = []
    if section["encoder_hidden_dim"] * len(directions) != section["decoder_hidden_dim"]:
        linears += ["decoder.encoder_hidden_proj", "decoder.encoder_cell_proj"]
    if section["decoder_hidden_dim"] != section["output_dim"]:
        linears += ["decoder.additional_fc"]
    if section["output_bias"]:
        names += ["decoder.output_projection.bias"]
    return [*names, *(f"{name}.{kind}" for name in linears for kind in ("weight", "bias"))]

"""Makes the checkpoints and figures of this folder; needs fairseq 0.12.2."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset
from fairseq.models.lstm import LSTMModel
from fairseq.models.lstm import base_architecture as lstm_defaults
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer import base_architecture as transformer_defaults
from fairseq.sequence_generator import SequenceGenerator

FOLDER = Path(sys.argv[1])
PAD, EOS = 1, 2
TRANSFORMER = {
    "encoder_embed_dim": 8, "encoder_ffn_embed_dim": 12, "encoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_layers": 2, "decoder_embed_dim": 8,
    "decoder_ffn_embed_dim": 12, "decoder_attention_heads": 2,
}  # fmt: skip
LSTM = {
    "encoder_embed_dim": 7, "encoder_hidden_size": 6, "encoder_layers": 2, "decoder_layers": 2,
    "decoder_embed_dim": 9, "decoder_hidden_size": 6, "decoder_out_embed_dim": 9,
}  # fmt: skip
PRE_NORM = {"encoder_normalize_before": True, "decoder_normalize_before": True}
LEARNED = {"encoder_learned_pos": True, "decoder_learned_pos": True}
TIED = {"share_decoder_input_output_embed": True}
MODELS = {
    "pre": ("transformer", TRANSFORMER | PRE_NORM | TIED),
    "learned": ("transformer", TRANSFORMER | LEARNED),
    "noscale": ("transformer", TRANSFORMER | TIED | {"no_scale_embedding": True, "activation_fn": "gelu"}),  # noqa: E501
    "lstm": ("lstm", LSTM | TIED | {"encoder_bidirectional": True}),
}  # fmt: skip


class Task:
    source_dictionary = Dictionary.load(str(FOLDER / "dict.x.txt"))
    target_dictionary = Dictionary.load(str(FOLDER / "dict.y.txt"))


def build(name, arch, options):
    torch.manual_seed(len(name))
    settings = Namespace(
        arch=arch, criterion="cross_entropy", source_lang="x", target_lang="y",
        max_source_positions=64, max_target_positions=60, label_smoothing=0.1,
        encoder_embed_path=None, decoder_embed_path=None, **options,
    )  # fmt: skip
    (transformer_defaults if arch == "transformer" else lstm_defaults)(settings)
    model = (TransformerModel if arch == "transformer" else LSTMModel).build_model(settings, Task)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if name == "learned":
        model.load_state_dict({key: value.half() for key, value in model.state_dict().items()})
    for module in model.modules():
        if hasattr(module, "can_use_fastpath"):
            module.can_use_fastpath = False
    weights = model.state_dict()
    if name == "learned":
        weights = {key: value.half() for key, value in weights.items()}
    saved = {"args": settings, "model": weights, "optimizer_history": [{"num_updates": 7}]}
    is_zip = name != "pre"
    torch.save(saved, FOLDER / f"{name}.pt", _use_new_zipfile_serialization=is_zip)
    return model.eval()


def batch_of(pairs):
    order = sorted(range(len(pairs)), key=lambda index: -len(pairs[index][0]))
    source = torch.full((len(pairs), max(len(s) for s, _ in pairs)), PAD)
    target = torch.full((len(pairs), max(len(t) for _, t in pairs)), PAD)
    before = target.clone()
    for row, index in enumerate(order):
        s, t = pairs[index]
        source[row, -len(s) :] = s
        target[row, : len(t)] = t
        before[row, : len(t)] = torch.cat([torch.tensor([EOS]), t[:-1]])
    return order, source, target, before


def main():
    sides = [MMapIndexedDataset(str(FOLDER / f"test.x-y.{side}")) for side in "xy"]
    pairs = [(sides[0][i].long(), sides[1][i].long()) for i in range(len(sides[0]))]
    order, source, target, before = batch_of(pairs)
    lengths = source.ne(PAD).sum(1)
    inputs = {"src_tokens": source, "src_lengths": lengths, "prev_output_tokens": before}
    for name, (arch, options) in MODELS.items():
        model = build(name, arch, options)
        with torch.no_grad():
            log_probs = model.get_normalized_probs(model(**inputs), log_probs=True)
            scores = log_probs.gather(2, target[:, :, None])[:, :, 0]
            search = SequenceGenerator(
                [model], Task.target_dictionary, beam_size=3, max_len_a=0, max_len_b=12,
                tokens_to_suppress=("<s>",),
            )  # fmt: skip
            found = search.generate([model], {"net_input": inputs})
        rows = {order[row]: row for row in range(len(pairs))}
        figures = {
            "references": [scores[rows[i], : len(pairs[i][1])].tolist() for i in range(len(pairs))],
            "hypotheses": [
                [{"tokens": h["tokens"].tolist()[:-1], "score": float(h["score"])} for h in found[rows[i]]]  # noqa: E501
                for i in range(len(pairs))
            ],
        }  # fmt: skip
        (FOLDER / f"{name}.json").write_text(json.dumps(figures))


main()

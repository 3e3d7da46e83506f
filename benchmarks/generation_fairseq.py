"""Searches with fairseq 0.12.2 what the benchmark asks for; runs in Python 3.8, without seqtrain.

Reads a line of JSON with batches of source symbols, padded on the right, and options; answers with
a line of CPU seconds and outputs.
"""

import json
import sys
import time
from argparse import Namespace

import torch
from fairseq.data import Dictionary, data_utils
from fairseq.models.transformer import TransformerModel, base_architecture
from fairseq.search import Sampling
from fairseq.sequence_generator import SequenceGenerator


class Task:
    """What fairseq's model asks of a task."""

    def __init__(self, symbols):
        """Takes the dictionary of both sides."""
        self.source_dictionary = self.target_dictionary = symbols


def build(checkpoint):
    """Returns the model with the weights of the checkpoint, and its dictionary."""
    config, weights = checkpoint["config"], checkpoint["model"]
    symbols = Dictionary()
    for index in range(len(symbols), len(weights["encoder.embed_tokens.weight"])):
        symbols.add_symbol("piece{}".format(index))  # noqa: UP032 # as old as its Python
    args = Namespace(
        encoder_embed_dim=config["dim"],
        decoder_embed_dim=config["dim"],
        encoder_ffn_embed_dim=config["ffn_dim"],
        decoder_ffn_embed_dim=config["ffn_dim"],
        encoder_layers=config["encoder_layers"],
        decoder_layers=config["decoder_layers"],
        encoder_attention_heads=config["num_heads"],
        decoder_attention_heads=config["num_heads"],
        encoder_normalize_before=True,
        decoder_normalize_before=True,
        share_all_embeddings=True,
        activation_fn=config["activation"],
        max_source_positions=config["max_positions"],
        max_target_positions=config["max_positions"],
    )
    base_architecture(args)
    model = TransformerModel.build_model(args, Task(symbols))
    for side in ("encoder", "decoder"):  # without it fairseq drops the last normalisation
        weights[side + ".version"] = torch.tensor([3.0])
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if "_float_tensor" not in name and "version" not in name]
    if missing or unexpected:
        raise RuntimeError("Weights without a place: {} {}".format(missing, unexpected))  # noqa: UP032
    model.eval()
    model.prepare_for_inference_(Namespace(generation=Namespace()))
    return model, symbols


def generate(generator, model, source, pad):
    """Returns the best output of each sentence of a batch."""
    rows = [row[row.ne(pad)] for row in source]
    net_input = {
        "src_tokens": data_utils.collate_tokens(rows, pad, left_pad=True),
        "src_lengths": torch.tensor([len(row) for row in rows]),
    }
    found = generator.generate([model], {"net_input": net_input})
    return [hypotheses[0]["tokens"].tolist()[:-1] for hypotheses in found]


def main():
    """Answers until standard input ends."""
    torch.set_num_threads(1)
    checkpoint = torch.load(sys.argv[1])
    model, symbols = build(checkpoint)
    for line in sys.stdin:
        asked = json.loads(line)
        batches = [torch.tensor(batch) for batch in asked["batches"]]
        generator = SequenceGenerator(
            [model],
            symbols,
            beam_size=asked["beam"],
            max_len_a=0,
            max_len_b=checkpoint["longest"],
            search_strategy=Sampling(symbols) if asked["sampling"] else None,
        )
        begin = time.process_time()
        with torch.no_grad():
            outputs = [
                output for batch in batches for output in generate(generator, model, batch, 1)
            ]
        seconds = time.process_time() - begin
        sys.stdout.write(json.dumps({"seconds": seconds, "outputs": outputs}) + "\n")
        sys.stdout.flush()


main()

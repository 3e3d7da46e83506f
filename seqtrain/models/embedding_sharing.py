"""Which embeddings an encoder-decoder model shares."""

from torch import nn

from seqtrain.errors import ConfigError
from seqtrain.models.base import ModelContext
from seqtrain.modules.embedding import TokenEmbedding, build_embeddings

SHARING_CHOICES = ("auto", "all", "decoder", "none")


def shared_embeddings(
    dim: int, sharing: str, context: ModelContext
) -> tuple[TokenEmbedding, TokenEmbedding, nn.Linear]:
    """Returns source embedding, target embedding and output projection.

    Args:
        dim: Width.
        sharing: A choice of `model.share_embeddings`; auto is all where the vocabulary is shared,
            else decoder.
        context: Tells the vocabularies.

    Raises:
        ConfigError: All are to be shared, but source and target have vocabularies of their own.
    """
    if sharing == "auto":
        sharing = "all" if context.shared_vocab else "decoder"
    if sharing == "all" and not context.shared_vocab:
        raise ConfigError(
            "model.share_embeddings=all needs one vocabulary for source and target. Preprocess "
            "with task.joined=true, or choose model.share_embeddings=decoder."
        )
    vocab_sizes = (context.source_vocab_size, context.target_vocab_size)
    return build_embeddings(vocab_sizes, dim, context.padding_index, sharing)

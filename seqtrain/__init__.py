"""seqtrain: a sequence-model training toolkit with plugin registries."""

__version__ = "0.1.0"

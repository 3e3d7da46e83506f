"""Modules that train differently early and late."""

from torch import nn


class FollowsUpdates(nn.Module):
    """Base of models, layers and criteria whose training depends on the number of the update.

    The Trainer sets the number before each update, from its own count: it is the same on every
    rank and goes on where a checkpoint stood, so nothing of it is saved here. Everything that
    depends on it is a function of this number, and is left out where `training` is False.
    """

    update_number: int = 1
    """Number of the update that is being computed; the first is 1."""

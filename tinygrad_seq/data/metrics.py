"""Measures of a language model, from its mean cross-entropy."""

from __future__ import annotations

import math
from typing import SupportsFloat


def perplexity(mean_nats: SupportsFloat) -> float:
    """exp of the mean cross-entropy per token: the effective number of equal choices.

    Args:
        mean_nats: Mean cross-entropy per token in nats, as the losses give it.

    Returns:
        At least 1 for a true cross-entropy; inf where exp overflows.

    Source: d2l 9.3.2.
    """
    try:
        return math.exp(float(mean_nats))
    except OverflowError:
        return math.inf


def bits_per_character(mean_nats: SupportsFloat) -> float:
    """Mean cross-entropy per character in bits: mean / ln 2.

    Args:
        mean_nats: Mean cross-entropy per character in nats, as the losses give it.
    """
    return float(mean_nats) / math.log(2)

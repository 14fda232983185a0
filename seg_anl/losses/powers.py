"""Elementary functions in the form that stays finite and that compilers turn into vector code."""

from __future__ import annotations

import torch
from torch import Tensor


def positive_power(base: Tensor, exponent: float) -> Tensor:
    """``base ** exponent`` for a positive base; where no gradient is wanted, it may be 0.

    The general power of a CPU takes several times as long as a root or as exp and log, compiled or not.
    """
    if exponent == 0.5:
        return torch.sqrt(base)
    if float(exponent).is_integer():
        return base**exponent
    return torch.exp(exponent * torch.log(base))

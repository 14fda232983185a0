"""Several networks of one architecture run as one: each layer's work for all of them is one call to the device.

For networks so small that a device waits for the next call more than it computes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from seg_anl.records import UserError


class NetworkStack:
    """K networks, called with K batches of one shape; returns their K outputs.

    Parameters are stacked anew in every call, as a step of the graph: gradients arrive at each network's own, and
    optimisers, clipping and checkpoints see K networks as if each were alone. Batch norm's statistics are written back.
    Outputs equal those of the networks alone up to rounding.

    Raises:
        UserError: for networks that draw random numbers in training, which would then depend on one another.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        first = networks[0]
        if any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 for module in first.modules()):
            raise UserError("a network with dropout cannot be trained beside others: use runs_per_device=1")
        self.first = first
        self.structure = copy.deepcopy(first).to("meta")
        self.parameters = _by_name([dict(network.named_parameters()) for network in networks])
        self.buffers = _by_name([dict(network.named_buffers()) for network in networks])

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Outputs of each network for its own inputs; training or evaluation mode is that of the first network."""
        self.structure.train(self.first.training)
        parameters = {name: torch.stack(each) for name, each in self.parameters.items()}
        buffers = {name: torch.stack(each) for name, each in self.buffers.items()}
        outputs: Tensor = vmap(self._one, randomness="error")(parameters, buffers, torch.stack(tuple(inputs)))
        if self.first.training:
            for name, each in self.buffers.items():
                torch._foreach_copy_(each, buffers[name].unbind())
        return outputs.unbind()

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        output: Tensor = functional_call(self.structure, (parameters, buffers), (inputs,))
        return output


def _by_name(tensors: Sequence[dict[str, Tensor]]) -> dict[str, list[Tensor]]:
    return {name: [each[name] for each in tensors] for name in tensors[0]}

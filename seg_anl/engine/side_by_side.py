"""Train several networks of one architecture as one wide network (``runs_per_device``), with one call per layer.

This is for networks so small that the device waits for calls longer than it computes.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from seg_anl.records import MetricRow, UserError

from .distribution import Process
from .loop import Learner, Training, compiled
from .progress import Progress
from .settings import LoopSettings, OptimSettings

ALONE = "use runs_per_device=1"
ROUNDING = 0.02  # share of an output's norm; networks that mix differ by about its whole norm


def fit_together(
    trainings: Sequence[Training], settings: LoopSettings, optim: OptimSettings, process: Process
) -> list[list[MetricRow] | UserError]:
    """Train each network as :func:`~seg_anl.engine.loop.fit` would train it alone, up to rounding.

    The networks share only their passes; each has its own loss, penalties, clipping, optimizer and checkpoints. A run
    that resumes from an earlier epoch than the others catches up first; one that diverges is left out from then on.
    Returns the metric rows of each training, or its error.
    """
    if process.world_size > 1:
        raise UserError("runs_per_device works in one process: use runs_per_device=1 with torchrun")
    if settings.graph:
        raise UserError(f"graph=true is for one run at a time: {ALONE}")
    if optim.jacobian or any(training.loss.draws for training in trainings):
        # All runs share a generator, so a run's random numbers would depend on the others.
        raise UserError(
            f"a loss or penalty that draws random numbers (nlnl, optim.jacobian) needs its own process: {ALONE}"
        )
    learners = [Learner(training, settings, optim, process) for training in trainings]
    present: list[Learner] = []
    with ExitStack() as stack:
        for learner in learners:
            stack.callback(learner.ledger.close)
        first, steps = min(learner.ledger.first_epoch for learner in learners), learners[0].task.steps_per_epoch
        progress = stack.enter_context(Progress(settings, first_epoch=first, steps=steps, visible=True))
        for epoch in range(first, settings.epochs):
            before = present
            present = [one for one in learners if one.ledger.first_epoch <= epoch and one.failure is None]
            if not present:
                continue
            if present != before:
                objective = _objective(present, epoch)
            for learner in present:
                learner.begin(epoch)
            for batches in zip(*(learner.task.batches(epoch) for learner in present), strict=True):
                for learner in present:
                    learner.optimizer.zero_grad(set_to_none=True)
                inputs = [learner.formatted(batch[0]) for learner, batch in zip(present, batches, strict=True)]
                values = objective(inputs, [batch[1] for batch in batches])
                scaled = [learner.scaler.scale(value) for learner, value in zip(present, values, strict=True)]
                functools.reduce(torch.add, scaled).backward()
                for learner, value in zip(present, values, strict=True):
                    learner.step(value)
                progress.step()
            for learner in present:
                learner.finish(epoch)
            progress.epoch(epoch + 1, [learner.shown for learner in present])
    return [learner.ledger.rows if learner.failure is None else learner.failure for learner in learners]


def _objective(
    learners: Sequence[Learner], epoch: int
) -> Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]:
    """A function from the inputs and targets of each learner to its value to minimize."""
    networks = Stack([learner.model for learner in learners])
    losses = LossStack([learner.loss for learner in learners])
    networks.check([next(iter(learner.task.batches(epoch)))[0] for learner in learners])

    def objective(inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Sequence[Tensor]:
        with learners[0].autocast():
            outputs = networks(inputs)
        return losses(outputs, targets)

    return compiled(objective) if learners[0].settings.compile else objective


class Stack:
    """One wide network whose layers hold the channels of K networks side by side.

    Its weights and statistics share memory with those of the K networks, which get their gradients. So optimizers,
    clipping, evaluation and checkpoints work on the K networks as if each were alone; outputs and gradients are those
    of the separate networks up to rounding.

    Args:
        networks: of one architecture, of convolutions, batch norm, linear layers, and layers that treat all channels
            alike. They must be trained for equal numbers of steps.

    Raises:
        UserError: for other layers, and for dropout, whose random numbers would depend on the other networks.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = networks
        self.wide = _wide_network(networks)
        self.counters = [
            part.num_batches_tracked
            for network in networks
            for part in network.modules()
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.num_batches_tracked is not None
        ]

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The output ``(B, ..., D)`` of each network for its inputs ``(B, C, ...)``, in the first network's mode."""
        self.wide.train(self.networks[0].training)
        if self.counters and self.wide.training:
            torch._foreach_add_(self.counters, 1)
        output: Tensor = self.wide(torch.cat([*inputs], dim=1))
        return output.chunk(len(self.networks), dim=-1)

    @torch.no_grad()
    def check(self, inputs: Sequence[Tensor]) -> None:
        """Check that each network's output for its ``inputs`` is that of the network alone.

        Raises:
            UserError: if it is not, for example because ``forward`` uses channel numbers.
        """
        training = self.networks[0].training
        for network in self.networks:
            network.eval()
        for found, network, images in zip(self(inputs), self.networks, inputs, strict=True):
            expected = network(images)
            # The norm, because TensorFloat-32 is accurate to three digits, and less for small elements.
            if found.shape != expected.shape or not (found - expected).norm() <= ROUNDING * expected.norm():
                raise UserError(f"networks of this architecture cannot be trained side by side: {ALONE}")
        for network in self.networks:
            network.train(training)


class LossStack:
    """K losses that differ only in parameters and buffers, evaluated at once; memory is shared as in :class:`Stack`."""

    def __init__(self, losses: Sequence[nn.Module]) -> None:
        self.loss = losses[0]
        states = [{**dict(loss.named_parameters()), **dict(loss.named_buffers())} for loss in losses]
        self.state = {name: _joined([state[name] for state in states], torch.stack, torch.unbind) for name in states[0]}

    def __call__(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Sequence[Tensor]:
        """Each loss for its output and target, as scalars."""
        values: Tensor = vmap(self._one, randomness="error")(
            self.state, torch.stack([*outputs]), torch.stack([*targets])
        )
        return values.unbind()

    def _one(self, state: dict[str, Tensor], output: Tensor, target: Tensor) -> Tensor:
        value: Tensor = functional_call(self.loss, state, (output, target))
        return value


class WideLinear(nn.Module):
    """K linear layers, each on its own features: ``(B, K * in_features)`` to ``(B, K * out_features)``."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.count = len(parts)
        self.weight = _concatenated([part.weight for part in parts])
        self.bias = None if parts[0].bias is None else _concatenated([part.bias for part in parts])

    def forward(self, features: Tensor) -> Tensor:
        """Apply all layers in one batched matrix product."""
        each = features.unflatten(-1, (self.count, -1)).transpose(0, 1)
        weight = self.weight.unflatten(0, (self.count, -1)).transpose(1, 2)
        if self.bias is None:
            product = torch.bmm(each, weight)
        else:
            product = torch.baddbmm(self.bias.view(self.count, 1, -1), each, weight)
        return product.transpose(0, 1).flatten(1)


def _wide_network(networks: Sequence[nn.Module]) -> nn.Module:
    """A network whose layers hold those of all ``networks``."""
    parents = [nn.Sequential(network) for network in networks]  # so that every layer has a parent
    wide = nn.Sequential(copy.deepcopy(networks[0]))
    for name, layer in list(wide.named_modules()):
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            raise UserError(f"a network with dropout cannot be trained beside others: {ALONE}")
        if layer._parameters or layer._buffers:
            parent, _, last = name.rpartition(".")
            setattr(wide.get_submodule(parent), last, _wide_layer([one.get_submodule(name) for one in parents]))
    return wide


def _wide_layer(parts: Sequence[nn.Module]) -> nn.Module:
    first, count = parts[0], len(parts)
    if type(first) is nn.Linear:
        return WideLinear(parts)  # type: ignore[arg-type]
    wide = copy.deepcopy(first)
    if isinstance(wide, nn.Conv2d):
        wide.in_channels, wide.out_channels = count * wide.in_channels, count * wide.out_channels
        wide.groups *= count
    elif isinstance(wide, (nn.BatchNorm1d, nn.BatchNorm2d)):
        wide.num_features *= count
        wide.register_buffer("num_batches_tracked", None)  # Stack counts in the K networks
    else:
        raise UserError(f"networks with {type(first).__name__} layers cannot be trained side by side: {ALONE}")
    for name in [*wide._parameters, *wide._buffers]:
        if getattr(wide, name) is not None:
            setattr(wide, name, _concatenated([getattr(part, name) for part in parts]))
    return wide


def _concatenated(tensors: Sequence[Tensor]) -> Tensor:
    count = len(tensors)
    return _joined(tensors, torch.cat, lambda joined: joined.chunk(count))


def _joined(
    tensors: Sequence[Tensor], join: Callable[[list[Tensor]], Tensor], part: Callable[[Tensor], Sequence[Tensor]]
) -> Tensor:
    """A tensor that ``tensors`` become views of; if they are parameters, it distributes its gradient to them."""
    joined = join([tensor.detach() for tensor in tensors])
    for tensor, view in zip(tensors, part(joined), strict=True):
        tensor.data = view
    if not isinstance(tensors[0], nn.Parameter):
        return joined
    parameter = nn.Parameter(joined, requires_grad=tensors[0].requires_grad)

    def distribute(parameter: Tensor) -> None:
        assert parameter.grad is not None
        for tensor, gradient in zip(tensors, part(parameter.grad), strict=True):
            tensor.grad = gradient
        parameter.grad = None

    if parameter.requires_grad:
        parameter.register_post_accumulate_grad_hook(distribute)
    return parameter

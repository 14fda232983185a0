"""Several networks of one architecture trained as one wide network (``runs_per_device``): one call a layer for all.

For networks so small that a device waits for the next call longer than it computes. The plain loop knows nothing of it.
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
ROUNDING = 0.02  # share of an output's norm; networks that mix differ by about all of it


def fit_together(
    trainings: Sequence[Training], settings: LoopSettings, optim: OptimSettings, process: Process
) -> list[list[MetricRow] | UserError]:
    """Train each network as :func:`~seg_anl.engine.loop.fit` would train it alone, up to rounding.

    Only the passes through the networks are one; losses, penalties, clipping, optimizers and checkpoints are each
    network's own. A run that its last checkpoint left behind the others catches up first; one whose loss is no longer
    finite is left out from then on. Returns for each training its metric rows, or why it was left out.
    """
    if process.world_size > 1:
        raise UserError("runs_per_device works in one process: use runs_per_device=1 with torchrun")
    if settings.graph:
        raise UserError(f"graph=true is for one run at a time: {ALONE}")
    if optim.jacobian or any(training.loss.draws for training in trainings):
        # From one generator for all: what a run draws would depend on its neighbors.
        raise UserError(
            f"a loss or penalty that draws random numbers (nlnl, optim.jacobian) needs a process of its own: {ALONE}"
        )
    learners = [Learner(training, settings, optim, process) for training in trainings]
    present: list[Learner] = []
    with ExitStack() as books:
        for learner in learners:
            books.callback(learner.ledger.close)
        first, steps = min(learner.ledger.first_epoch for learner in learners), learners[0].task.steps_per_epoch
        progress = books.enter_context(Progress(settings, first_epoch=first, steps=steps, visible=True))
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
    """Inputs and targets of each learner to the value that it minimizes."""
    networks = Stack([learner.model for learner in learners])
    losses = LossStack([learner.loss for learner in learners])
    networks.check([next(iter(learner.task.batches(epoch)))[0] for learner in learners])

    def objective(inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Sequence[Tensor]:
        with learners[0].autocast():
            outputs = networks(inputs)
        return losses(outputs, targets)

    return compiled(objective) if learners[0].settings.compile else objective


class Stack:
    """K networks side by side: the channels of one beside those of the next, in every layer.

    Their weights and statistics move into the layers of one wide network, and those of the K networks become windows
    onto them: what changes in the one place changes in the other. Gradients arrive at the K networks. Optimizers,
    clipping, evaluation and checkpoints see K networks as if each were alone; outputs and gradients equal those of the
    networks alone up to rounding.

    Args:
        networks: of one architecture, made of convolutions, batch norm, linear layers and what treats every channel
            alike. They must be trained for equal numbers of steps.

    Raises:
        UserError: for other layers, and for dropout, whose draws would depend on the neighbors.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = networks
        self.wide = _side_by_side(networks)
        self.counters = [
            part.num_batches_tracked
            for network in networks
            for part in network.modules()
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.num_batches_tracked is not None
        ]

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Outputs ``(B, ..., D)`` of each network for its own inputs ``(B, C, ...)``, in the first network's mode."""
        self.wide.train(self.networks[0].training)
        if self.counters and self.wide.training:
            torch._foreach_add_(self.counters, 1)
        output: Tensor = self.wide(torch.cat([*inputs], dim=1))
        return output.chunk(len(self.networks), dim=-1)

    @torch.no_grad()
    def check(self, inputs: Sequence[Tensor]) -> None:
        """Check that the networks do not mix: that side by side each says of its ``inputs`` what it says alone.

        Raises:
            UserError: when they do, which is so for networks whose ``forward`` treats channels by their number.
        """
        training = self.networks[0].training
        for network in self.networks:
            network.eval()
        for found, network, images in zip(self(inputs), self.networks, inputs, strict=True):
            expected = network(images)
            # As a whole: convolutions in TensorFloat-32 leave three digits, and of small elements fewer.
            if found.shape != expected.shape or not (found - expected).norm() <= ROUNDING * expected.norm():
                raise UserError(f"networks of this architecture cannot be trained side by side: {ALONE}")
        for network in self.networks:
            network.train(training)


class LossStack:
    """K losses that differ in nothing but parameters and buffers, evaluated as one; each keeps its own, as above."""

    def __init__(self, losses: Sequence[nn.Module]) -> None:
        self.loss, self.state = losses[0], {}
        for name, _ in losses[0].named_parameters():
            self.state[name] = _joined([loss.get_parameter(name) for loss in losses], torch.stack, torch.unbind)
        for name, _ in losses[0].named_buffers():
            self.state[name] = _joined([loss.get_buffer(name) for loss in losses], torch.stack, torch.unbind)

    def __call__(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Sequence[Tensor]:
        """The scalar of each loss for its own output and target."""
        values: Tensor = vmap(self._one, randomness="error")(
            self.state, torch.stack([*outputs]), torch.stack([*targets])
        )
        return values.unbind()

    def _one(self, state: dict[str, Tensor], output: Tensor, target: Tensor) -> Tensor:
        value: Tensor = functional_call(self.loss, state, (output, target))
        return value


class WideLinear(nn.Module):
    """K linear layers, each on its share of the features: ``(B, K * in_features)`` to ``(B, K * out_features)``."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.count = len(parts)
        self.weight = _beside([part.weight for part in parts])
        self.bias = None if parts[0].bias is None else _beside([part.bias for part in parts])

    def forward(self, features: Tensor) -> Tensor:
        """One batched matrix product for all."""
        each = features.unflatten(-1, (self.count, -1)).transpose(0, 1)
        weight = self.weight.unflatten(0, (self.count, -1)).transpose(1, 2)
        if self.bias is None:
            product = torch.bmm(each, weight)
        else:
            product = torch.baddbmm(self.bias.view(self.count, 1, -1), each, weight)
        return product.transpose(0, 1).flatten(1)


def _side_by_side(networks: Sequence[nn.Module]) -> nn.Module:
    """One network whose layers hold those of all ``networks``."""
    held = [nn.Sequential(network) for network in networks]  # so that no layer is without a parent
    wide = nn.Sequential(copy.deepcopy(networks[0]))
    for name, layer in list(wide.named_modules()):
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            raise UserError(f"a network with dropout cannot be trained beside others: {ALONE}")
        if layer._parameters or layer._buffers:
            parent, _, last = name.rpartition(".")
            setattr(wide.get_submodule(parent), last, _wide_layer([one.get_submodule(name) for one in held]))
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
        wide.register_buffer("num_batches_tracked", None)  # counted in the parts
    else:
        raise UserError(f"networks with {type(first).__name__} layers cannot be trained side by side: {ALONE}")
    for name in [*wide._parameters, *wide._buffers]:
        if getattr(wide, name) is not None:
            setattr(wide, name, _beside([getattr(part, name) for part in parts]))
    return wide


def _beside(tensors: Sequence[Tensor]) -> Tensor:
    count = len(tensors)
    return _joined(tensors, torch.cat, lambda joined: joined.chunk(count))


def _joined(
    tensors: Sequence[Tensor], join: Callable[[list[Tensor]], Tensor], part: Callable[[Tensor], Sequence[Tensor]]
) -> Tensor:
    """One tensor of which ``tensors`` become parts; as a parameter it hands its gradient out to them."""
    joined = join([tensor.detach() for tensor in tensors])
    for tensor, its_part in zip(tensors, part(joined), strict=True):
        tensor.data = its_part
    if not isinstance(tensors[0], nn.Parameter):
        return joined
    parameter = nn.Parameter(joined, requires_grad=tensors[0].requires_grad)

    def hand_out(parameter: Tensor) -> None:
        assert parameter.grad is not None
        for tensor, gradient in zip(tensors, part(parameter.grad), strict=True):
            tensor.grad = gradient
        parameter.grad = None

    if parameter.requires_grad:
        parameter.register_post_accumulate_grad_hook(hand_out)
    return parameter

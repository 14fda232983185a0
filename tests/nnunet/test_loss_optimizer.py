import pytest
import torch

from seg_anl.losses import build_loss
from seg_anl.nnunet.loss_optimizer import LossOptimizer
from tests.processes import run_groups


def one_step(scaler=None, spoil: bool = False) -> float:
    """log nu after one SGD step of a network with ``scaler``."""
    torch.manual_seed(0)  # the direction of nu's step depends on the initial weights
    network = torch.nn.Conv2d(1, 2, 1)
    loss = build_loss("t_loss")
    sgd = torch.optim.SGD(network.parameters(), lr=0.1)
    LossOptimizer(loss, sgd, learning_rate=1e-3, scaler=scaler)
    value = loss(network(torch.ones(2, 1, 4, 4)), torch.zeros(2, 4, 4))
    if scaler is None:
        value.backward()
        sgd.step()
    else:
        scaler.scale(value).backward()
        if spoil:
            network.weight.grad[:] = float("inf")
        scaler.unscale_(sgd)
        scaler.step(sgd)
        scaler.update()
    return loss.log_nu.item()


def test_first_adam_step_equals_the_learning_rate_with_and_without_a_scaler():
    # Adam's first step is lr * g / |g| for any gradient.
    assert abs(one_step() - 1) == pytest.approx(1e-3, rel=1e-3)
    assert one_step(torch.amp.GradScaler("cpu", init_scale=1024.0)) == pytest.approx(one_step(), abs=1e-6)


def test_step_is_skipped_with_the_scaler():
    assert one_step(torch.amp.GradScaler("cpu", init_scale=1024.0), spoil=True) == 1.0


WORKER = """
import torch
from torch import distributed, nn
from seg_anl.nnunet.loss_optimizer import average_gradients
distributed.init_process_group("gloo")
parameter = nn.Parameter(torch.zeros(()))
parameter.grad = torch.tensor([1.0, 4.0][distributed.get_rank()])
average_gradients([parameter])
print(parameter.grad.item())
"""


def test_gradients_are_averaged_over_processes():
    assert [output.strip() for output in run_groups(WORKER, (2, []))[0]] == ["2.5", "2.5"]

"""How weights lie in memory on a GPU, and that what is stored and restored does not depend on it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from asd.models.encoders import NAMES, build_encoder
from asd.train.precision import placed
from asd.train.state import load_optimiser_state, named_optimiser_state


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_weights_are_enough(name: str) -> None:
    """Every map then has its channels last, and so has every gradient, as fused optimisers want it."""
    encoder = build_encoder(name, 32, 32).to(memory_format=torch.channels_last)
    maps: list[torch.Tensor] = []
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.ReLU | nn.ReLU6 | nn.PReLU):
            module.register_forward_hook(lambda _module, _given, made: maps.append(made))
    encoder(torch.randn(2, 32, 32)).sum().backward()
    assert maps and all(made.is_contiguous(memory_format=torch.channels_last) for made in maps)
    assert all(p.grad is not None and p.grad.stride() == p.stride() for p in encoder.parameters())


def test_on_a_cpu_weights_stay_as_they_are() -> None:
    convolution = placed(nn.Conv2d(4, 8, 3), torch.device("cpu"))
    assert convolution.weight.is_contiguous()


def test_an_optimiser_is_restored_in_the_order_of_its_parameters() -> None:
    """Fused steps go through memory: with moments in another order they would move other weights."""
    weights = []
    for stored in (False, True):
        torch.manual_seed(0)
        module = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(module.parameters(), fused=True)
        for step in range(3):
            if stored and step == 2:
                told = {name: value.clone().contiguous() for name, value in named_optimiser_state(optimiser, module)}
                optimiser = torch.optim.AdamW(module.parameters(), fused=True)
                load_optimiser_state(optimiser, module, told)
            optimiser.zero_grad()
            module(torch.randn(2, 4, 8, 8)).square().sum().backward()
            optimiser.step()
        weights.append(module.weight.detach().clone())
    assert torch.equal(*weights)

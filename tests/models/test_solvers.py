"""Solvers: measured order of convergence on an ODE with a closed form."""

import math

import numpy as np
import pytest
import torch

from generative_policies.models import SOLVERS, integrate


def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """dx/dt = 6 t x (1 - x), so x(1) = 1 / (1 + (1 / x(0) - 1) exp(-3))."""
    return 6 * t[:, None] * x * (1 - x)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)])
def test_order_of_convergence(solver: str, order: int) -> None:
    x_0 = torch.tensor([[0.1], [0.3]], dtype=torch.float64)
    exact = 1 / (1 + (1 / x_0 - 1) * math.exp(-3))
    steps = np.array([8, 16, 32, 64])
    errors = [float((integrate(velocity, x_0, int(n), solver) - exact).abs().max()) for n in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.25)


def test_every_solver_is_tested() -> None:
    assert set(SOLVERS) == {"euler", "midpoint", "heun", "rk4"}


def test_constant_velocity_is_exact_in_one_step() -> None:
    for solver in SOLVERS:
        assert integrate(lambda x, t: torch.full_like(x, 2.0), torch.ones(3, 1), 1, solver).tolist() == [[3.0]] * 3


def test_integrate_is_differentiable() -> None:
    x_0 = torch.tensor([[1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: integrate(velocity, x, 3, "rk4"), (x_0,))


@pytest.mark.parametrize("num_steps", [0, -1, 2.5, "3"])
def test_num_steps_is_checked(num_steps: object) -> None:
    with pytest.raises(ValueError, match="num_steps"):
        integrate(velocity, torch.ones(1, 1), num_steps)  # type: ignore[arg-type]


def test_unknown_solver_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="euler, midpoint, heun, rk4"):
        integrate(velocity, torch.ones(1, 1), 1, "dopri5")

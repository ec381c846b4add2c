"""Fixed-step solvers of dx/dt = velocity(x, t) from t = 0 to t = 1, as plain functions.

Source: Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, ch. II.1.
"""

from collections import deque
from collections.abc import Callable, Iterator
from types import MappingProxyType

import torch
from torch import Tensor

from generative_policies.models.dimensions import check_dim

Velocity = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[Velocity, Tensor, float, float], Tensor]


def euler_step(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    """Euler step, order 1."""
    return x + dt * velocity(x, _time(x, t))


def midpoint_step(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    """Explicit midpoint step, order 2."""
    x_mid = x + 0.5 * dt * velocity(x, _time(x, t))
    return x + dt * velocity(x_mid, _time(x, t + 0.5 * dt))


def heun_step(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    """Heun's trapezoidal step, order 2."""
    k_1 = velocity(x, _time(x, t))
    k_2 = velocity(x + dt * k_1, _time(x, t + dt))
    return x + 0.5 * dt * (k_1 + k_2)


def rk4_step(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    """Classical Runge-Kutta step, order 4."""
    k_1 = velocity(x, _time(x, t))
    k_2 = velocity(x + 0.5 * dt * k_1, _time(x, t + 0.5 * dt))
    k_3 = velocity(x + 0.5 * dt * k_2, _time(x, t + 0.5 * dt))
    k_4 = velocity(x + dt * k_3, _time(x, t + dt))
    return x + dt / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


SOLVERS = MappingProxyType({"euler": euler_step, "midpoint": midpoint_step, "heun": heun_step, "rk4": rk4_step})


def integrate(velocity: Velocity, x_0: Tensor, num_steps: int, solver: str = "euler") -> Tensor:
    """Integrate from t = 0 to t = 1 in equal steps; differentiable.

    Args:
        velocity: A function of x ``(batch, ...)`` and t ``(batch,)`` with the shape of x.
        x_0: ``(batch, ...)``, the start.
        num_steps: Number of steps, at least 1.
        solver: A key of ``SOLVERS``: euler, midpoint, heun or rk4.

    Returns:
        x_1 in the shape of ``x_0``.

    Raises:
        ValueError: If ``num_steps`` or ``solver`` is not one of these.

    Example:
        >>> import torch
        >>> integrate(lambda x, t: torch.ones_like(x), torch.zeros(1, 1), num_steps=4).item()
        1.0
    """
    return deque(_points(velocity, x_0, num_steps, solver), maxlen=1).pop()


def trajectory(velocity: Velocity, x_0: Tensor, num_steps: int, solver: str = "euler") -> Tensor:
    """Return all points of the integration, ``(num_steps + 1, batch, ...)``; arguments as ``integrate``'s."""
    return torch.stack(list(_points(velocity, x_0, num_steps, solver)))


def _points(velocity: Velocity, x_0: Tensor, num_steps: int, solver: str) -> Iterator[Tensor]:
    num_steps = check_dim("num_steps", num_steps)
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}; got {solver!r}")
    step: Step = SOLVERS[solver]
    x = x_0
    yield x
    for k in range(num_steps):
        x = step(velocity, x, k / num_steps, 1 / num_steps)
        yield x


def _time(x: Tensor, t: float) -> Tensor:
    return x.new_full((len(x),), t)

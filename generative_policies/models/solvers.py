"""Fixed-step solvers of dx/dt = velocity(x, t) from t = 0 to t = 1, as plain functions.

Source: Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, ch. II.1.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count
from types import MappingProxyType

import torch
from torch import Tensor

from generative_policies.models.dimensions import check_dim

Velocity = Callable[[Tensor, Tensor], Tensor]
"""A velocity of the point ``(batch, ...)`` and the time ``(batch,)``."""
IndexedVelocity = Callable[[Tensor, int], Tensor]
"""A velocity of the point and the number of the evaluation, whose time is that of ``evaluation_times``."""
VelocityAt = Callable[[Tensor, float], Tensor]
Step = Callable[[VelocityAt, Tensor, float, float], Tensor]


def euler_step(velocity: VelocityAt, x: Tensor, t: float, dt: float) -> Tensor:
    """Euler step, order 1."""
    return x + dt * velocity(x, t)


def midpoint_step(velocity: VelocityAt, x: Tensor, t: float, dt: float) -> Tensor:
    """Explicit midpoint step, order 2."""
    x_mid = x + 0.5 * dt * velocity(x, t)
    return x + dt * velocity(x_mid, t + 0.5 * dt)


def heun_step(velocity: VelocityAt, x: Tensor, t: float, dt: float) -> Tensor:
    """Heun's trapezoidal step, order 2."""
    k_1 = velocity(x, t)
    k_2 = velocity(x + dt * k_1, t + dt)
    return x + 0.5 * dt * (k_1 + k_2)


def rk4_step(velocity: VelocityAt, x: Tensor, t: float, dt: float) -> Tensor:
    """Classical Runge-Kutta step, order 4."""
    k_1 = velocity(x, t)
    k_2 = velocity(x + 0.5 * dt * k_1, t + 0.5 * dt)
    k_3 = velocity(x + 0.5 * dt * k_2, t + 0.5 * dt)
    k_4 = velocity(x + dt * k_3, t + dt)
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
    return _end(_points(_timed(velocity), x_0, num_steps, solver))


def trajectory(velocity: Velocity, x_0: Tensor, num_steps: int, solver: str = "euler") -> Tensor:
    """Return all points of the integration from t = 0 to t = 1 in equal steps; differentiable.

    Args:
        velocity: A function of x ``(batch, ...)`` and t ``(batch,)`` with the shape of x.
        x_0: ``(batch, ...)``, the start.
        num_steps: Number of steps, at least 1.
        solver: A key of ``SOLVERS``: euler, midpoint, heun or rk4.

    Returns:
        ``(num_steps + 1, batch, ...)``, from ``x_0`` to what ``integrate`` returns.

    Raises:
        ValueError: If ``num_steps`` or ``solver`` is not one of these.
    """
    return torch.stack(list(_points(_timed(velocity), x_0, num_steps, solver)))


def integrate_indexed(velocity: IndexedVelocity, x_0: Tensor, num_steps: int, solver: str = "euler") -> Tensor:
    """Integrate a velocity that knows its times already: those of ``evaluation_times``, in their order.

    What depends on the times alone can then be computed for all of them at once. Arguments as ``integrate``'s.
    """
    return _end(_points(_in_turn(velocity), x_0, num_steps, solver))


def trajectory_indexed(velocity: IndexedVelocity, x_0: Tensor, num_steps: int, solver: str = "euler") -> Tensor:
    """Return all points of ``integrate_indexed``, ``(num_steps + 1, batch, ...)``."""
    return torch.stack(list(_points(_in_turn(velocity), x_0, num_steps, solver)))


@lru_cache(maxsize=256)
def evaluation_times(num_steps: int, solver: str = "euler") -> tuple[float, ...]:
    """Return the times at which a solver asks for the velocity, in the order in which it asks.

    Raises:
        ValueError: If ``num_steps`` or ``solver`` is not one that ``integrate`` takes.

    Example:
        >>> evaluation_times(2, "heun")
        (0.0, 0.5, 0.5, 1.0)
    """
    times: list[float] = []

    def record(x: Tensor, t: float) -> Tensor:
        times.append(t)
        return x

    _end(_points(record, torch.zeros(()), num_steps, solver))
    return tuple(times)


def _points(velocity: VelocityAt, x_0: Tensor, num_steps: int, solver: str) -> Iterator[Tensor]:
    num_steps = check_dim("num_steps", num_steps)
    if not isinstance(solver, str) or solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}; got {solver!r}")
    step: Step = SOLVERS[solver]
    x = x_0
    yield x
    for k in range(num_steps):
        x = step(velocity, x, k / num_steps, 1 / num_steps)
        yield x


def _end(points: Iterator[Tensor]) -> Tensor:
    return deque(points, maxlen=1).pop()


def _in_turn(velocity: IndexedVelocity) -> VelocityAt:
    number = count()
    return lambda x, t: velocity(x, next(number))


def _timed(velocity: Velocity) -> VelocityAt:
    return lambda x, t: velocity(x, x.new_full((len(x),), t))

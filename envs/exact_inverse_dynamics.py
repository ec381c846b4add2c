"""The inverse of a MuJoCo env's step: the action that makes it, by least squares through the simulator."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from mujoco import minimize
from numpy.typing import NDArray

from generative_policies.data.arrays import as_float
from generative_policies.envs.exact_dynamics import ExactDynamics, Floats, StepResiduals

# Where a search starts again: at the best of random actions, then around the best so far, in shares of half a range.
NUM_CANDIDATES, NUM_BEST = 200, 12
SPREADS = (0.05, 0.15, 0.4)


class InverseSolution(NamedTuple):
    """An action, and how well it does.

    Attributes:
        action: ``(action_dim,)`` or ``(batch, action_dim)``, inside the bounds.
        residual: The cycle error ``|f(s, a) - s'| / |s' - s|`` of it, a float or ``(batch,)``: not near zero where no
            action in the bounds makes the step.
    """

    action: Floats
    residual: Any


class ExactInverseDynamics:
    """The action in the bounds that makes a step, by least squares through the simulator.

    Box-constrained Gauss-Newton on ``ExactDynamics.difference``, with finite differences of the whole env step over
    the controls. Contacts are not smooth, so it starts again until the step is met: from the best of many random
    actions, then around the best action found. A step that no action makes costs all starts.

    Args:
        env: A Gymnasium MuJoCo env, wrapped or not, whose actions are its model's controls, rewired or not.
        num_starts: Starts at most.
        tolerance: Residual at which no other start is tried.

    Raises:
        TypeError: If it is no such env.

    Example:
        >>> from generative_policies.envs import get_state
        >>> env = gymnasium.make("HalfCheetah-v5")
        >>> _ = env.reset(seed=0)
        >>> state, action = get_state(env), np.full(6, 0.5)
        >>> _ = env.step(action)
        >>> solution = ExactInverseDynamics(env).solve(state, get_state(env))
        >>> bool(np.allclose(solution.action, action, atol=1e-4))
        True
    """

    def __init__(self, env: gymnasium.Env[Any, Any], num_starts: int = 36, tolerance: float = 1e-7) -> None:
        if not isinstance(num_starts, int | np.integer) or isinstance(num_starts, bool) or num_starts < 1:
            raise ValueError(f"num_starts must be an integer of at least 1, got {num_starts!r}")
        known = isinstance(tolerance, int | float | np.floating) and not isinstance(tolerance, bool)
        if not known or not 0 <= as_float(tolerance) < np.inf:
            raise ValueError(f"tolerance must be a finite number of at least 0, got {tolerance!r:.100}")
        self.dynamics = ExactDynamics(env)
        self.num_starts = num_starts
        self.tolerance = tolerance

    def solve(
        self, state: Floats, next_state: Floats, guess: NDArray[Any] | None = None, seed: int = 0
    ) -> InverseSolution:
        """Return the best action found.

        Args:
            state: ``(state_size,)``, ``mjSTATE_INTEGRATION``.
            next_state: ``(state_size,)``.
            guess: ``(action_dim,)``, tried first, such as the action of the step before; the middle by default.
            seed: Of the other starts.

        Raises:
            ValueError: If a shape is wrong.
        """
        low, high = self.dynamics.low, self.dynamics.high
        problem = StepResiduals(self.dynamics, state, next_state)
        first = 0.5 * (low + high) if guess is None else np.clip(np.asarray(guess, dtype=np.float64), low, high)
        best, best_residual = first, np.inf
        candidates: list[Floats] = []
        rng = np.random.default_rng(seed)
        for k in range(self.num_starts):
            if k == 0:
                start = first
            elif k <= NUM_BEST:
                candidates = candidates or self._best_of_many(problem, rng)
                start = candidates[k - 1]
            else:
                spread = 0.5 * (high - low) * SPREADS[k % len(SPREADS)]
                start = np.clip(best + spread * rng.standard_normal(len(low)), low, high)
            action, _ = minimize.least_squares(
                start,
                problem.residual,
                bounds=[low, high],
                verbose=minimize.Verbosity.SILENT,
                max_iter=50,
                output=io.StringIO(),
            )
            action = np.clip(action, low, high)
            residual = float(problem.cycle_error(action[None])[0])
            if residual < best_residual:
                best, best_residual = action, residual
            if best_residual <= self.tolerance:
                break
        return InverseSolution(best, best_residual)

    def _best_of_many(self, problem: "StepResiduals", rng: np.random.Generator) -> list[Floats]:
        """The best of random actions, the best first."""
        actions = rng.uniform(self.dynamics.low, self.dynamics.high, (NUM_CANDIDATES, len(self.dynamics.low)))
        return list(actions[problem.cycle_error(actions).argsort()[:NUM_BEST]])

    def solve_batch(
        self,
        states: Floats,
        next_states: Floats,
        guesses: NDArray[Any] | None = None,
        num_threads: int = 1,
        seed: int = 0,
    ) -> InverseSolution:
        """Solve a batch over threads; the answers do not depend on their number.

        Args:
            states: ``(batch, state_size)``.
            next_states: ``(batch, state_size)``.
            guesses: ``(batch, action_dim)``.
            num_threads: Threads; MuJoCo runs outside Python's lock.
            seed: Of the other starts; row i takes ``seed + i``.

        Raises:
            ValueError: If a shape or a number of rows is wrong.
        """
        if len(states) != len(next_states) or (guesses is not None and len(guesses) != len(states)):
            raise ValueError(f"expected as many rows in all, got {len(states)} states, {len(next_states)} next states")

        def solve(k: int) -> InverseSolution:
            return self.solve(states[k], next_states[k], None if guesses is None else guesses[k], seed + k)

        with ThreadPoolExecutor(num_threads) as pool:
            answers = list(pool.map(solve, range(len(states))))
        actions = np.array([answer.action for answer in answers]).reshape(len(answers), len(self.dynamics.low))
        return InverseSolution(actions, np.array([answer.residual for answer in answers]))

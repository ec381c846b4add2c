"""Draw the pictures of the environments' page: ``python docs/environments.py``."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from generative_policies.envs import ArmObstacleEnv, DetourController, make_env
from generative_policies.envs.obstacle import OBSTACLE_POSITION, OBSTACLE_RADIUS
from generative_policies.rollouts import load_expert

ARM_TASKS = ("ArmReach3-v0", "ArmPush2-v0", "ArmPush3-v0")
FIRST_SEED = 10_000
Act = Callable[[Any], NDArray[Any]]


def frames(name: str, steps: tuple[int, ...]) -> list[NDArray[np.uint8]]:
    """Return what the camera sees at some steps of an expert's episode."""
    env = make_env(f"generative_policies/{name}", render_mode="rgb_array", proprioception=False)
    expert = load_expert(name)
    observation, _ = env.reset(seed=FIRST_SEED)
    pictures = []
    for step in range(max(steps) + 1):
        if step in steps:
            picture: Any = env.render()
            pictures.append(picture)
        observation = env.step(expert.predict(observation, deterministic=True)[0])[0]
    env.close()
    return pictures


def path(env: gymnasium.Env[Any, Any], act: Act, seed: int) -> NDArray[np.float64]:
    """Return the way of the finger, ``(T + 1, 2)``."""
    observation, _ = env.reset(seed=seed)
    way, over = [observation[:2]], False
    while not over:
        observation, _, terminated, truncated, info = env.step(act(observation))
        way.append(observation[:2])
        over = terminated or truncated or info["is_success"]
    return np.array(way)


def main() -> None:
    """Draw arms at their tasks, and the ways round the obstacle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of the pictures")
    output = parser.parse_args().output

    figure = Figure(figsize=(9, 6.2), layout="constrained")
    axes = figure.subplots(2, 3)
    for column, name in enumerate(ARM_TASKS):
        for row, picture in enumerate(frames(name, (0, 18))):
            axes[row, column].imshow(picture)
            axes[row, column].set_axis_off()
        axes[0, column].set_title(name)
    FigureCanvasAgg(figure).print_figure(output / "arms.png", dpi=110)

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    scene, ways = figure.subplots(1, 2, width_ratios=(1, 1.25))
    env = gymnasium.make("generative_policies/ArmObstacle-v0", render_mode="rgb_array")
    base = env.unwrapped
    assert isinstance(base, ArmObstacleEnv)
    left, right = DetourController(base.arm, "left"), DetourController(base.arm, "right")
    env.reset(seed=FIRST_SEED)
    scene.imshow(env.render())
    scene.set_axis_off()
    arms: dict[str, tuple[Act, str]] = {
        "left": (left.act, "#0072B2"),
        "right": (right.act, "#009E73"),
        "mean of the two actions": (
            lambda observation: (left.act(observation) + right.act(observation)) / 2,
            "#D55E00",
        ),
    }
    for label, (act, color) in arms.items():
        for k in range(10):
            way = path(env, act, FIRST_SEED + k)
            ways.plot(*way.T, color=color, linewidth=1, alpha=0.7, label=label if k == 0 else None)
    ways.add_patch(Circle(OBSTACLE_POSITION, OBSTACLE_RADIUS, color="#BF3830", alpha=0.6))
    ways.set(xlabel="x [m]", ylabel="y [m]", aspect="equal", title="ways of the finger, ten episodes each")
    ways.set_ylim(-0.27, 0.37)
    ways.legend(fontsize=8, loc="upper center")
    FigureCanvasAgg(figure).print_figure(output / "obstacle.png", dpi=110)
    env.close()


if __name__ == "__main__":
    main()

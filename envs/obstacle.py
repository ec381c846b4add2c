"""A reach task with two ways round an obstacle, and the controller that shows both."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray

from generative_policies.data.arrays import as_float
from generative_policies.envs.arm_envs import ArmReachEnv, Step
from generative_policies.envs.planar_arm import ARMS, FINGER_CONTACT, OBJECT_CONTACT, ArmSpec, Floats

OBSTACLE_POSITION = (0.5, 0.0)  # [m]
OBSTACLE_RADIUS = 0.08  # [m]
SERVO_ARM = asdict(replace(ARMS[2], actuator="position"))


class ArmObstacleEnv(ArmReachEnv):
    """Bring the finger to a goal behind an obstacle, left or right of it; touching the obstacle ends the episode.

    Observation and action as in ``ArmReachEnv``; by default joints have position servos. ``info["hit_obstacle"]`` tells
    whether the finger touches the obstacle; an episode that ends so is no success.
    """

    hit_cost: ClassVar[float] = 10.0

    def __init__(
        self,
        arm: ArmSpec | Mapping[str, Any] | int = SERVO_ARM,
        proprioception: bool = True,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        camera_name: str = "task",
    ) -> None:
        super().__init__(arm, proprioception, render_mode, width, height, camera_name)

    def add_objects(self, model: mujoco.MjSpec) -> None:
        """Add the obstacle."""
        model.worldbody.add_geom(
            name="obstacle",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[OBSTACLE_RADIUS, 0.04, 0],
            pos=[*OBSTACLE_POSITION, 0.04],
            rgba=[0.75, 0.22, 0.17, 1],
            contype=OBJECT_CONTACT,
            conaffinity=FINGER_CONTACT,
        )

    def place(self) -> tuple[Floats, Floats]:
        """Draw a goal right behind the obstacle."""
        return self.start_angles(), self.np_random.uniform([0.68, -0.03], [0.72, 0.03])

    def step(self, action: NDArray[Any]) -> Step:  # type: ignore[override]  # Gymnasium's says numpy floats
        """Hold the action for ``dt`` seconds; the episode ends where the finger touches the obstacle."""
        observation, reward, _, truncated, info = super().step(action)
        hit = self.data.ncon > 0  # finger and obstacle are all that can touch
        return observation, reward - self.hit_cost * hit, hit, truncated, info | {"hit_obstacle": hit}

    def _get_reset_info(self) -> dict[str, Any]:
        return super()._get_reset_info() | {"hit_obstacle": False}


class DetourController:
    """Leads the finger round the obstacle on one side, by the state alone: set-points on a path just ahead of it.

    Args:
        arm: An arm with position servos.
        side: ``"left"`` or ``"right"`` as seen from the base.
        lookahead: How far the set-point is ahead of the finger [m].

    Raises:
        TypeError: If ``arm`` is no ``ArmSpec``.
        ValueError: If the arm has other actuators, or another argument is out of its range.

    Example:
        >>> from generative_policies.envs.planar_arm import arm_spec
        >>> controller = DetourController(arm_spec(SERVO_ARM), "left")
        >>> env = ArmObstacleEnv()
        >>> env.action_space.contains(controller.act(env.reset(seed=0)[0]))
        True
    """

    def __init__(self, arm: ArmSpec, side: Literal["left", "right"], lookahead: float = 0.12) -> None:
        if not isinstance(arm, ArmSpec):
            raise TypeError(f"arm must be an ArmSpec, got {type(arm).__name__}")
        if arm.actuator != "position":
            raise ValueError(f"the controller needs position servos, got an arm with {arm.actuator} actuators")
        if not isinstance(side, str) or side not in ("left", "right"):
            raise ValueError(f"side must be 'left' or 'right', got {side!r}")
        self.arm = arm
        self.sign = 1.0 if side == "left" else -1.0
        known = isinstance(lookahead, int | float | np.floating) and not isinstance(lookahead, bool)
        if not known or not 0 < as_float(lookahead) < np.inf:
            raise ValueError(f"lookahead must be a positive and finite number [m], got {lookahead!r:.100}")
        self.lookahead = lookahead

    def act(self, observation: Floats) -> NDArray[np.float32]:
        """Return joint set-points [rad] for an observation with proprioception."""
        tip, goal = observation[0:2], observation[4:6]
        n, first = self.arm.num_joints, ArmObstacleEnv.task_dim
        angles = np.arctan2(observation[first + n : first + 2 * n], observation[first : first + n])
        x, y = OBSTACLE_POSITION
        clearance = self.sign * (OBSTACLE_RADIUS + 0.13)
        path = np.array([tip, [x - 0.12, y + clearance], [x + 0.1, y + clearance], goal])
        # Way points that the finger has passed are behind it.
        passed = tip[0] > path[:, 0] - 0.02
        path = np.concatenate([path[:1], path[1:3][~passed[1:3]], path[3:]])
        set_point, _ = self.arm.angles_at(_walk(path, self.lookahead), near=angles)
        return np.clip(set_point, self.arm.joint_low, self.arm.joint_high).astype(np.float32)


def _walk(path: Floats, length: float) -> Floats:
    """The point of a path ``(points, 2)`` that lies a length behind its start, or its end."""
    start: Floats
    end: Floats
    for start, end in pairwise(path):
        step = float(np.linalg.norm(end - start))
        if step >= length:
            return start + length / step * (end - start)
        length -= step
    return end

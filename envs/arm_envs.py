"""Reach and push with planar arms, whose observation begins with a task part that means the same on every arm."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from generative_policies.envs.planar_arm import FINGER_CONTACT, OBJECT_CONTACT, ArmSpec, Floats, arm_spec, build_arm
from generative_policies.envs.rendering import require_rendering

Step = tuple[Floats, float, bool, bool, dict[str, Any]]
FRAME_SKIP = 5  # of 0.01 s
TORQUE_COST = 0.1


class PlanarArmEnv(MujocoEnv, EzPickle):
    """What the tasks of a planar arm share: model, observation, success.

    The observation is ``[task | proprioception]``: ``task_dim`` entries that mean the same on every arm, in metres and
    metres per second, then cosines and sines of the joint angles and their velocities [rad/s]. It is a function of the
    physics state, the goal included, which is a mocap body.

    The action is one entry a joint, see ``ArmSpec.actuator``. ``info`` holds ``is_success`` and ``success``, whether
    the goal was reached at any step so far, and ``distance`` [m]. Episodes end by their time limit.

    Args:
        arm: A number of links, an ``ArmSpec``, or its fields as a mapping; JSON knows the first and the last.
        proprioception: Whether the observation has its second part.
        render_mode: As in ``gymnasium.make``.
        width: Of the picture [pixels].
        height: Of the picture [pixels].
        camera_name: A camera of the model.

    Attributes:
        task_dim: Number of leading entries of the observation that mean the same on every arm.
        arm: The ``ArmSpec``.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  # as Gymnasium declares it
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": 20,
    }
    task_dim: ClassVar[int]
    success_distance: ClassVar[float]

    def __init__(
        self,
        arm: ArmSpec | Mapping[str, Any] | int = 2,
        proprioception: bool = True,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        camera_name: str = "task",
    ) -> None:
        EzPickle.__init__(self, arm, proprioception, render_mode, width, height, camera_name)
        self.arm = arm_spec(arm)
        if not isinstance(proprioception, bool | np.bool_):
            raise TypeError(f"proprioception must be True or False, got {proprioception!r:.100}")
        self.proprioception = proprioception
        self.reached = False
        size = self.task_dim + 3 * self.arm.num_joints * proprioception
        MujocoEnv.__init__(
            self,
            # Not read, but a file that exists is asked for: the model comes from _initialize_simulation.
            str(Path(__file__).resolve()),
            FRAME_SKIP,
            Box(-np.inf, np.inf, (size,), np.float64),
            render_mode=render_mode,
            width=width,
            height=height,
            camera_name=camera_name,
        )

    @abstractmethod
    def add_objects(self, model: mujoco.MjSpec) -> None:
        """Add what the task needs to the model of the arm."""

    @abstractmethod
    def task_observation(self, qpos: Floats, qvel: Floats, goal: Floats) -> Floats:
        """Return the task part of the observation, ``(..., task_dim)``, from batches of states.

        Args:
            qpos: ``(..., nq)``.
            qvel: ``(..., nv)``.
            goal: ``(..., 2)`` [m].
        """

    @abstractmethod
    def place(self) -> tuple[Floats, Floats]:
        """Draw the positions ``(nq,)`` at the start of an episode, and the goal ``(2,)`` [m]."""

    @abstractmethod
    def reward_and_distance(self, task: Floats) -> tuple[float, float]:
        """Return the reward, before the cost of torques, and the distance to the goal [m], of a task observation."""

    def observation(self, qpos: Floats, qvel: Floats, goal: Floats) -> Floats:
        """Return observations from batches of states, arguments as ``task_observation``'s."""
        task = self.task_observation(qpos, qvel, goal)
        if not self.proprioception:
            return task
        n = self.arm.num_joints
        return np.concatenate([task, np.cos(qpos[..., :n]), np.sin(qpos[..., :n]), qvel[..., :n]], axis=-1)

    def step(self, action: NDArray[Any]) -> Step:  # type: ignore[override]  # Gymnasium's says numpy floats
        """Hold the action for ``dt`` seconds."""
        self.do_simulation(action, self.frame_skip)
        task = self.task_observation(self.data.qpos, self.data.qvel, self.goal)
        reward, distance = self.reward_and_distance(task)
        torques = self.data.qfrc_actuator[: self.arm.num_joints] / np.array(self.arm.gear)
        reward -= TORQUE_COST * float(np.mean(np.square(torques)))
        self.reached = self.reached or distance < self.success_distance
        if self.render_mode == "human":
            self.render()
        return self._observe(), reward, False, False, self._info(distance)

    def reset_model(self) -> Floats:
        """Draw a start and a goal."""
        qpos, goal = self.place()
        self.data.mocap_pos[0, :2] = goal
        self.set_state(qpos, np.zeros(self.model.nv))  # type: ignore[no-untyped-call]
        _, distance = self.reward_and_distance(self.task_observation(self.data.qpos, self.data.qvel, goal))
        self.reached = distance < self.success_distance
        self.start_distance = distance
        return self._observe()

    def render(self) -> Any:
        """Return a picture as ``render_mode`` says.

        Raises:
            RenderingUnavailableError: If this machine has neither EGL nor OSMesa, nor a screen.
        """
        if self.render_mode not in (None, "human") and self.mujoco_renderer.viewer is None:
            require_rendering()
        return self.mujoco_renderer.render(self.render_mode)

    @property
    def goal(self) -> Floats:
        """Where the finger or the object has to come [m]."""
        return np.array(self.data.mocap_pos[0, :2])

    def start_angles(self) -> Floats:
        """Draw joint angles around the arm's home."""
        angles = np.array(self.arm.home) + self.np_random.uniform(-0.1, 0.1, self.arm.num_joints)
        return np.clip(angles, self.arm.joint_low, self.arm.joint_high)

    def _observe(self) -> Floats:
        return self.observation(np.array(self.data.qpos), np.array(self.data.qvel), self.goal)

    def _info(self, distance: float) -> dict[str, Any]:
        return {"is_success": self.reached, "success": self.reached, "distance": distance}

    def _get_reset_info(self) -> dict[str, Any]:
        return self._info(self.start_distance)

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        spec = build_arm(self.arm)
        goal = spec.worldbody.add_body(name="goal", mocap=True)
        goal.add_geom(
            name="goal",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[self.success_distance, 0.002, 0],
            pos=[0, 0, 0.003],
            rgba=[0.1, 0.6, 0.35, 0.6],
            contype=0,
            conaffinity=0,
        )
        self.add_objects(spec)
        model = spec.compile()
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        return model, mujoco.MjData(model)


class ArmReachEnv(PlanarArmEnv):
    """Bring the finger to a goal.

    The task part: finger [m], its velocity [m/s], goal [m], goal minus finger [m]; two entries each.
    """

    task_dim = 8
    success_distance = 0.04

    def add_objects(self, model: mujoco.MjSpec) -> None:
        """Add nothing."""

    def task_observation(self, qpos: Floats, qvel: Floats, goal: Floats) -> Floats:
        """Return ``(..., 8)``."""
        tip, velocity = self.arm.tip_position(qpos), self.arm.tip_velocity(qpos, qvel)
        return np.concatenate([tip, velocity, goal, goal - tip], axis=-1)

    def place(self) -> tuple[Floats, Floats]:
        """Draw a goal in a ring sector that all arms of 0.8 m reach."""
        radius, angle = self.np_random.uniform([0.3, -1.2], [0.7, 1.2])
        return self.start_angles(), radius * np.array([np.cos(angle), np.sin(angle)])

    def reward_and_distance(self, task: Floats) -> tuple[float, float]:
        """Return minus the distance, and the distance."""
        distance = float(np.linalg.norm(task[6:8]))
        return -distance, distance


class ArmPushEnv(PlanarArmEnv):
    """Push a puck to a goal, away from the base.

    The task part: finger [m], its velocity [m/s], puck [m], its velocity [m/s], goal [m], puck minus finger [m], goal
    minus puck [m]; two entries each.
    """

    task_dim = 14
    success_distance = 0.05
    puck_radius: ClassVar[float] = 0.05  # [m]

    def add_objects(self, model: mujoco.MjSpec) -> None:
        """Add a puck that slides on the table."""
        puck = model.worldbody.add_body(name="puck", pos=[0, 0, 0.03])
        for name, axis in (("puck_x", [1, 0, 0]), ("puck_y", [0, 1, 0])):
            puck.add_joint(
                name=name,
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=axis,
                limited=mujoco.mjtLimited.mjLIMITED_TRUE,
                range=[-1, 1],
                damping=0.5,
                frictionloss=0.2,
            )
        puck.add_geom(
            name="puck",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[self.puck_radius, 0.03, 0],
            mass=0.2,
            rgba=[0.84, 0.37, 0.0, 1],
            contype=OBJECT_CONTACT,
            conaffinity=FINGER_CONTACT,
        )

    def task_observation(self, qpos: Floats, qvel: Floats, goal: Floats) -> Floats:
        """Return ``(..., 14)``."""
        n = self.arm.num_joints
        tip, velocity = self.arm.tip_position(qpos[..., :n]), self.arm.tip_velocity(qpos[..., :n], qvel[..., :n])
        puck = qpos[..., n:]
        return np.concatenate([tip, velocity, puck, qvel[..., n:], goal, puck - tip, goal - puck], axis=-1)

    def place(self) -> tuple[Floats, Floats]:
        """Draw the puck in front of the finger and the goal behind the puck."""
        puck = self.np_random.uniform([0.38, -0.12], [0.46, 0.12])
        goal = self.np_random.uniform([0.6, -0.12], [0.66, 0.12])
        return np.concatenate([self.start_angles(), puck]), goal

    def reward_and_distance(self, task: Floats) -> tuple[float, float]:
        """Return minus the distance of puck and goal, and half of that of finger and puck; and the first."""
        distance = float(np.linalg.norm(task[12:14]))
        return -distance - 0.5 * float(np.linalg.norm(task[10:12])), distance

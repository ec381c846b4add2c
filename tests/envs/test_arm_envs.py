"""Reach, push and the obstacle: the same task on every arm, exact states, real contacts."""

import os
import pickle
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest

from generative_policies.envs import ARMS, ArmObstacleEnv, ArmPushEnv, ArmReachEnv, DetourController

IDS = [f"generative_policies/Arm{task}{links}-v0" for task in ("Reach", "Push") for links in (2, 3, 4)]
IDS.append("generative_policies/ArmObstacle-v0")


@pytest.mark.parametrize("env_id", IDS)
def test_the_observation_is_a_function_of_the_physics_state(env_id: str) -> None:
    env = gymnasium.make(env_id)
    base: Any = env.unwrapped
    env.reset(seed=0)
    env.action_space.seed(0)
    states, observations = [], []
    for _ in range(10):
        observation, *_ = env.step(env.action_space.sample())
        states.append((base.data.qpos.copy(), base.data.qvel.copy(), base.goal))
        observations.append(observation)
    batch = base.observation(*(np.stack(x) for x in zip(*states, strict=True)))
    assert np.array_equal(batch, np.stack(observations))
    tip = base.data.site("tip").xpos[:2]  # of the last substep's beginning
    assert np.allclose(observations[-1][:2], tip, atol=0.03)


@pytest.mark.parametrize("env_id", IDS)
def test_without_proprioception_the_task_part_is_left(env_id: str) -> None:
    whole, task = gymnasium.make(env_id), gymnasium.make(env_id, proprioception=False)
    n = whole.unwrapped.task_dim  # type: ignore[attr-defined]
    assert task.observation_space.shape == (n,)
    observation, _ = whole.reset(seed=3)
    assert np.array_equal(observation[:n], task.reset(seed=3)[0])
    angles = whole.unwrapped.data.qpos[: whole.action_space.shape[0]]  # type: ignore[attr-defined, index]
    assert np.allclose(observation[n:], np.concatenate([np.cos(angles), np.sin(angles), 0 * angles]))


@pytest.mark.parametrize("cls", [ArmReachEnv, ArmPushEnv])
def test_the_task_part_means_the_same_on_every_arm(cls: type[ArmReachEnv]) -> None:
    """The finger at one place with one velocity, the objects at theirs: the same task part, whatever the arm."""
    tip, tasks = np.array([0.4, 0.1]), []
    for arm in ARMS.values():
        env = cls(arm)
        angles, gap = arm.angles_at(tip, np.array(arm.home))
        assert gap < 1e-9
        velocities = np.linalg.pinv(arm.tip_jacobian(angles)) @ [0.3, -0.2]
        objects = env.model.nq - arm.num_joints
        qpos, qvel = np.concatenate([angles, [0.5, 0.0][:objects]]), np.concatenate([velocities, [0.1, 0.2][:objects]])
        tasks.append(env.task_observation(qpos, qvel, np.array([0.6, 0.1])))
    for task in tasks[1:]:
        assert np.allclose(task, tasks[0], atol=1e-7)


def test_reach_succeeds_at_the_goal_and_success_is_latched() -> None:
    env = ArmReachEnv(2)
    env.reset(seed=0)
    angles, _ = env.arm.angles_at(env.goal, np.array(env.arm.home))
    env.set_state(angles, np.zeros(2))  # type: ignore[no-untyped-call]
    *_, info = env.step(np.zeros(2, np.float32))
    assert info["is_success"] is True and info["success"] is True and info["distance"] < 0.01
    env.set_state(np.array(env.arm.home), np.zeros(2))  # type: ignore[no-untyped-call]
    *_, info = env.step(np.zeros(2, np.float32))
    assert info["is_success"] is True and info["distance"] > 0.04
    assert env.reset(seed=1)[1]["is_success"] is False


def test_the_finger_pushes_the_puck_and_links_do_not() -> None:
    env = ArmPushEnv(2)
    env.reset(seed=0)
    pairs = {
        frozenset(env.model.geom(int(g)).name for g in (a, b))
        for a in range(env.model.ngeom)
        for b in range(a)
        if (env.model.geom_contype[a] & env.model.geom_conaffinity[b])
        or (env.model.geom_contype[b] & env.model.geom_conaffinity[a])
    }
    assert pairs == {frozenset({"finger", "puck"})}
    # The finger beside the puck, moving at it.
    angles, _ = env.arm.angles_at(np.array([0.4, 0.0]), np.array(env.arm.home))
    qvel = np.concatenate([np.linalg.solve(env.arm.tip_jacobian(angles), [1.0, 0.0]), [0.0, 0.0]])
    env.set_state(np.concatenate([angles, [0.48, 0.0]]), qvel)  # type: ignore[no-untyped-call]
    for _ in range(5):
        env.step(np.zeros(2, np.float32))
    assert env.data.qpos[2] > 0.5 and abs(env.data.qpos[3]) < 0.02
    # At rest away from it, nothing moves.
    env.reset(seed=0)
    puck = env.data.qpos[2:].copy()
    env.step(np.zeros(2, np.float32))
    assert np.array_equal(env.data.qpos[2:], puck)


@pytest.mark.parametrize("side", ["left", "right"])
def test_both_ways_round_the_obstacle_reach_the_goal(side: Any) -> None:
    env = gymnasium.make("generative_policies/ArmObstacle-v0")
    controller = DetourController(env.unwrapped.arm, side)  # type: ignore[attr-defined]
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        sides, over = [], False
        while not over:
            observation, _, terminated, truncated, info = env.step(controller.act(observation))
            sides.append(observation[1])
            over = terminated or truncated or info["is_success"]
        assert info["is_success"] and not info["hit_obstacle"]
        assert (max(sides) > 0.1) == (side == "left") and (min(sides) < -0.1) == (side == "right")


def test_the_mean_of_both_ways_hits_the_obstacle() -> None:
    env = gymnasium.make("generative_policies/ArmObstacle-v0")
    arm = env.unwrapped.arm  # type: ignore[attr-defined]
    left, right = DetourController(arm, "left"), DetourController(arm, "right")
    hits = 0
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            mean = 0.5 * (left.act(observation) + right.act(observation))
            observation, _, terminated, truncated, info = env.step(mean)
            over = terminated or truncated or info["is_success"]
        assert terminated is info["hit_obstacle"]
        hits += info["hit_obstacle"]
    assert hits >= 19


def test_the_controller_needs_servos_and_a_side() -> None:
    with pytest.raises(ValueError, match="position servos"):
        DetourController(ARMS[2], "left")
    with pytest.raises(ValueError, match="'left' or 'right'"):
        DetourController(ArmObstacleEnv().arm, "up")  # type: ignore[arg-type]


def test_envs_are_pickled_with_their_arguments() -> None:
    env = pickle.loads(pickle.dumps(ArmPushEnv(3, proprioception=False)))
    assert env.arm == ARMS[3] and env.observation_space.shape == (14,)


COLORS = {"arm": (0, 0.35, 0.7), "goal": (0.1, 0.6, 0.35), "puck": (0.84, 0.37, 0.0), "obstacle": (0.75, 0.22, 0.17)}


def dominant(frame: np.ndarray, name: str) -> int:
    """The number of pixels of about an object's hue."""
    pixels = frame.reshape(-1, 3).astype(float)
    direction = np.array(COLORS[name]) / np.linalg.norm(COLORS[name])
    lengths = np.linalg.norm(pixels, axis=1) + 1e-9
    return int(np.sum((pixels @ direction / lengths > 0.985) & (lengths > 60)))


@pytest.mark.parametrize("env_id", IDS)
def test_the_picture_shows_robot_goal_and_object(env_id: str) -> None:
    env = gymnasium.make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    frame: Any = env.render()
    env.close()
    assert frame.shape == (480, 480, 3)
    objects = ["arm", "goal", *(["puck"] if "Push" in env_id else []), *(["obstacle"] if "Obstacle" in env_id else [])]
    for name in objects:
        assert dominant(frame, name) > 150, name


def test_without_a_display_everything_but_rendering_works() -> None:
    """The one thing that needs EGL or OSMesa says so."""
    code = (
        "import gymnasium, generative_policies.envs as envs\n"
        "env = gymnasium.make('generative_policies/ArmPush2-v0', render_mode='rgb_array')\n"
        "env.reset(seed=0); env.step(env.action_space.sample())\n"
        "print(envs.ExactDynamics(env).state_size)\n"
        "try:\n"
        "    env.render()\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY")
    }
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment | {"MUJOCO_GL": "glfw"},
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[1].startswith(
        "RenderingUnavailableError offscreen rendering is not available (glfw"
    )

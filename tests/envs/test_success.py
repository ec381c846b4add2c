"""Success of envs that report none."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env

from generative_policies.envs import SuccessWrapper, make_env


class Replay(gymnasium.Env[Any, Any]):
    """Shows recorded observations, one a step."""

    action_space = Box(-1, 1, (1,))
    observation_space = Box(-np.inf, np.inf, (3,))

    def __init__(self, observations: list[list[float]]) -> None:
        self.rows = [np.array(row, dtype=np.float32) for row in observations]
        self.index = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.index = 0
        return self.rows[0], {}

    def step(self, action: Any) -> Any:
        self.index += 1
        return self.rows[self.index], 0.0, False, self.index + 1 == len(self.rows), {"other": 1}


def test_success_is_latched_until_the_next_reset() -> None:
    env = SuccessWrapper(Replay([[5, 0, 9], [1, 0, 9], [0.5, 0.5, 9], [4, 0, 9]]), (0, 1), (1, 2), threshold=0.2)
    assert env.reset()[1] == {"is_success": False, "success": False}
    reported = [env.step(np.zeros(1))[4] for _ in range(3)]
    assert [info["is_success"] for info in reported] == [False, True, True]
    assert [info["success"] for info in reported] == [False, True, True]
    assert all(info["other"] == 1 for info in reported)
    assert env.reset()[1]["is_success"] is False


def test_an_episode_may_begin_successful() -> None:
    env = SuccessWrapper(Replay([[0, 0, 0], [9, 0, 0]]), (0, 1), (1, 2))
    assert env.reset()[1]["is_success"] is True


def test_pushers_success_is_the_objects_not_the_fingertips() -> None:
    env = make_env("Pusher-v5")
    observation, _ = env.reset(seed=0)
    data: Any = env.unwrapped
    assert np.allclose(observation[17:20], data.get_body_com("object"))
    assert np.allclose(observation[20:23], data.get_body_com("goal"))
    qpos, qvel = data.data.qpos.copy(), data.data.qvel.copy()
    qpos[-4:-2] = 0.03  # object onto the goal, the arm far away
    qpos[-2:] = 0.0
    data.set_state(qpos, qvel)
    info = env.step(np.zeros(7))[4]
    assert np.linalg.norm(data.get_body_com("tips_arm") - data.get_body_com("goal")) > 0.1
    assert info["is_success"] is True


def test_made_env_passes_gymnasiums_check() -> None:
    check_env(make_env("Pusher-v5"), skip_render_check=True)


def test_spec_rebuilds_the_wrapped_env() -> None:
    env = make_env("Pusher-v5")
    assert env.spec is not None
    rebuilt = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert "is_success" in rebuilt.reset(seed=0)[1]
    assert np.array_equal(rebuilt.reset(seed=3)[0], env.reset(seed=3)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 4), (1, 2)), "achieved"),
        (((0, 1), (2, 2)), "goal"),
        (((0, 2), (2, 3)), "equally wide"),
        (((0, 1), (1, 2), 0.0), "threshold"),
    ],
)
def test_bad_arguments_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SuccessWrapper(Replay([[0, 0, 0]]), *arguments)


def test_other_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="flat Box"):
        SuccessWrapper(gymnasium.make("FrozenLake-v1"), (0, 1), (1, 2))

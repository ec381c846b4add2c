"""Translation through both simulators, between robots whose motors are wired differently."""

import numpy as np

from generative_policies.envs import get_state, make_env
from generative_policies.rollouts.exact_translation import ExactTranslationWrapper

CHEETAH = "HalfCheetah-v5"


def test_a_rewired_robot_is_led_along_the_sources_way() -> None:
    source, mirrored = make_env(CHEETAH), make_env(CHEETAH, motors=(3, 4, 5, 0, 1, 2), motor_signs=(1, -1) * 3)
    env = ExactTranslationWrapper(mirrored, make_env(CHEETAH))
    for robot in (source, env):
        robot.reset(seed=0)
    for action in np.random.default_rng(0).uniform(-1, 1, (10, 6)).astype(np.float32):
        source.step(action)
        env.step(action)
    assert np.allclose(get_state(env), get_state(source), atol=1e-3)


def test_a_robot_with_fewer_motors_gets_the_nearest_action() -> None:
    env = ExactTranslationWrapper(make_env(CHEETAH, motors=(0, 1, 2)), make_env(CHEETAH))
    env.reset(seed=0)
    env.step(np.full(6, 0.5, np.float32))
    assert env.unwrapped.data.ctrl[3:].tolist() == [0, 0, 0] and env.unwrapped.data.ctrl[:3].any()  # type: ignore[attr-defined]

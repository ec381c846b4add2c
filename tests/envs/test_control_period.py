"""The time between two actions."""

import gymnasium
import pytest

from generative_policies.envs import ArmReachEnv, check_control_periods, control_period


def test_equal_periods_pass_and_others_are_told_with_both_numbers() -> None:
    source = gymnasium.make("HalfCheetah-v5")
    assert control_period(source) == pytest.approx(0.05)
    check_control_periods(source, ArmReachEnv(2))
    with pytest.raises(ValueError, match=r"got 0\.05 s and 0\.02 s"):
        check_control_periods(source, gymnasium.make("HalfCheetah-v5", frame_skip=2))


def test_envs_without_one_are_refused() -> None:
    with pytest.raises(TypeError, match="no control period"):
        control_period(gymnasium.make("CartPole-v1"))

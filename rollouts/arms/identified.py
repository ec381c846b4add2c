"""Arms that know the target up to a few factors: a handful of its steps identifies them, the rest is simulation."""

import json
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv

from generative_policies.envs import identify_shift
from generative_policies.rollouts.aggregation import Rounds
from generative_policies.rollouts.arms.matching import train_by_matching
from generative_policies.rollouts.arms.study import Study
from generative_policies.rollouts.arms.task import Trained
from generative_policies.rollouts.arms.translated import translated, translated_env
from generative_policies.rollouts.episodes import Episode, count_steps, run_episodes, source_act
from generative_policies.rollouts.pairing import steps_of
from generative_policies.rollouts.robots import Robot

MOST_STEPS = 400
SIMULATED_ROUNDS = Rounds(3, 25)


def identified(study: Study) -> Trained:
    """Match in the identified simulator, with as many of its episodes as there is time for.

    Raises:
        ValueError: If the robots differ by more than a shift.
    """
    check("identified", study)
    simulated, episodes, details = identify(study)
    rounds = SIMULATED_ROUNDS
    task = replace(
        study.task, target=simulated, rounds=rounds.count, episodes_per_round=rounds.episodes, noise=rounds.noise
    )
    found = train_by_matching(Study(task, study.folder, study.num_envs, study.source_models), "mlp")
    trained = translated(study, found)
    make = partial(translated_env, study.task, found.translator, study.policy)  # on the target itself
    return trained._replace(make=make, details=trained.details | details, episodes=episodes)


def identified_ppo(study: Study) -> Trained:
    """Tune the source policy by PPO in the identified simulator, with the source's reward.

    Raises:
        ValueError: If the robots differ by more than a shift.
        TypeError: If the source policy is none of PPO.
    """
    check("identified_ppo", study)
    policy: Any = study.policy.policy
    simulated, episodes, details = identify(study)
    model = PPO(
        "MlpPolicy",
        DummyVecEnv([simulated.make] * 8),
        learning_rate=lambda progress_remaining: 3e-4 * progress_remaining,
        n_steps=1_024,
        policy_kwargs={"net_arch": policy.net_arch, "activation_fn": policy.activation_fn},
        seed=study.task.seed,
        device="cpu",
    )
    envs = model.get_env()
    assert envs is not None  # it was given one
    envs.seed(study.first_target_seed)  # the constructor's are those of tuning
    model.policy.load_state_dict(policy.state_dict())
    model.policy.log_std.data.fill_(-1.0)  # a converged policy explores too little to change
    model.learn(study.task.simulated_steps)
    return Trained(study.task.target.make, source_act(model.policy), details, episodes)


def check(arm: str, study: Study) -> None:
    """Check that an arm that is trained in the identified simulator can be there.

    Raises:
        ValueError: If bodies or motors differ, or the source is shifted itself.
        TypeError: If PPO is to go on with a policy that is not its own.
    """
    task, policy = study.task, study.policy
    wirings = [(robot.motors, robot.motor_signs) for robot in (task.source, task.target)]
    if study.other_body or task.source.shift is not None or wirings[0] != wirings[1]:
        raise ValueError(
            f"what is identified is a shift of the source as it comes, on a body and motors that are the same; got "
            f"{task.source} and {task.target}"
        )
    if arm == "identified_ppo" and (not isinstance(policy.policy, ActorCriticPolicy) or policy.statistics is not None):
        raise TypeError(
            f"PPO goes on with a policy of its own without VecNormalize statistics, got {type(policy.policy).__name__}"
        )


def identify(study: Study) -> tuple[Robot, list[Episode], dict[str, Any]]:
    """Collect on the target with the source policy as it is, and return the simulator that explains the steps best."""
    task = study.task
    rounds, count = study.rounds, study.rounds.count * study.rounds.episodes
    episodes = run_episodes(
        task.target.make,
        study.source,
        range(study.first_target_seed, study.first_target_seed + count),
        exploration=study.rng(1).uniform(*rounds.noise, count).tolist(),
        num_envs=study.num_envs,
        record_states=True,
        progress="collect target episodes",
    )
    steps = steps_of(episodes)
    assert steps.states is not None and steps.next_states is not None  # they were recorded
    rows = study.rng(2).permutation(len(steps.actions))[:MOST_STEPS]
    found = identify_shift(task.source.make(), steps.states[rows], steps.actions[rows], steps.next_states[rows])
    factors = {name: value for name, value in asdict(found.shift).items() if name != "bodies"}
    details = {
        "target_steps": count_steps(episodes),
        "identified": factors,
        "identification_error": found.error,
        "identification_error_before": found.error_before,
    }
    return replace(task.source, shift=json.dumps(factors)), episodes, details

"""Behaviour cloning as SB3 users drive it: data in, callbacks, logs, zips, and what is refused before training."""

import copy
import io
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from generative_policies import pickled_files
from generative_policies.data import Demonstrations, TransitionDataset
from generative_policies.models import DistilledFlowModel, ResidualMlp
from generative_policies.pickled_files import PickledFileWarning
from generative_policies.policies import BehaviorCloning, MlpPolicy, as_demonstrations, load_policy, save_policy

OBSERVED = Box(-np.inf, np.inf, (3,), np.float64)
ACTED = Box(np.array([-1, -2], np.float32), np.array([3, 2], np.float32))
GAIN = np.array([[0.5, 0.0], [0.2, 0.7], [0.0, -0.4]])


class Line(gymnasium.Env[Any, Any]):
    """Rewards the action that ``GAIN`` gives for what is observed, ten steps an episode."""

    observation_space, action_space = OBSERVED, ACTED

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        self.state = self.np_random.normal(size=3)
        return self.state.copy(), {}

    def step(self, action: Any) -> Any:
        reward = -float(np.abs(action - expert(self.state)).sum())
        self.state = self.np_random.normal(size=3)
        self.steps += 1
        return self.state.copy(), reward, False, self.steps == 10, {"is_success": reward > -0.5}


def expert(observations: Any) -> Any:
    return np.clip(observations @ GAIN, ACTED.low, ACTED.high).astype(np.float32)


def demonstrations(count: int = 30, length: int = 20, seed: int = 0) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(seed)
    episodes = []
    for _ in range(count):
        observations = rng.normal(size=(length + 1, 3))
        episodes.append((observations, expert(observations[:-1])))
    return episodes


def cloning(policy: Any = "MlpPolicy", env: Any = None, data: Any = None, **arguments: Any) -> BehaviorCloning:
    settings: dict[str, Any] = {"policy_kwargs": {"net_arch": (32, 32)}, "batch_size": 64, "seed": 0, "device": "cpu"}
    return BehaviorCloning(policy, env or Line(), data or demonstrations(), **settings | arguments)


def error(policy: Any) -> float:
    observations = np.random.default_rng(9).normal(size=(200, 3))
    actions, _ = policy.predict(observations, deterministic=True)
    return float(np.abs(actions - expert(observations)).mean())


@pytest.mark.parametrize("policy", ["FlowPolicy", "MlpPolicy", MlpPolicy])
@pytest.mark.parametrize("squash_output", [False, True])
def test_it_learns_what_was_demonstrated(policy: Any, squash_output: bool) -> None:
    model = cloning(policy, policy_kwargs={"net_arch": (64, 64), "squash_output": squash_output})
    before = error(model.policy)
    assert model.learn(1_500) is model
    assert error(model) < 0.25 * before and error(model) < 0.12
    assert model.num_timesteps == 1_500


def test_chunks_are_learned_with_the_history_that_they_follow_from() -> None:
    # The action repeats the first observation of two, the plan's second action the current one.
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(40):
        seen = rng.uniform(-1, 1, size=(21, 3))
        before = np.concatenate([seen[:1], seen[:-1]])
        episodes.append((seen, before[:-1, :2]))
    model = cloning(
        data=episodes, policy_kwargs={"net_arch": (64, 64), "history": 2, "horizon": 2, "replan_interval": 2}
    )
    model.learn(2_000)
    seen, state, found = rng.uniform(-1, 1, size=(5, 3)), None, []
    for observation in seen:
        action, state = model.predict(observation, state)
        found.append(action)
    np.testing.assert_allclose(found[0], seen[0, :2], atol=0.15)
    np.testing.assert_allclose(found[1:], seen[:-1, :2], atol=0.15)


def test_the_same_seed_gives_the_same_weights_and_nobody_elses_noise() -> None:
    state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002  # it is what must not change
    weights = []
    for seed in (0, 0, 1):
        model = cloning("FlowPolicy", seed=seed).learn(30)
        weights.append(torch.nn.utils.parameters_to_vector(model.policy.parameters()))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002


def flat(policy: Any) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(policy.parameters()).detach().clone()


def test_what_predicts_are_the_averaged_weights() -> None:
    model = cloning(ema_decay=0.999, learning_rate=1e-2).learn(40)
    assert not torch.allclose(flat(model.learner), flat(model.policy))
    last = cloning(ema_decay=0.0, learning_rate=1e-2).learn(40)
    assert torch.equal(flat(last.learner), flat(last.policy))


def test_the_validation_loss_is_the_averaged_weights_on_episodes_that_were_held_out() -> None:
    model = cloning("FlowPolicy", learning_rate=1e-2, validation_fraction=0.2).learn(30)
    training, validation = model._training, model._validation
    assert training is not None and validation is not None
    seen, held_out = (
        {tuple(row) for row in part.observations["observation"].tolist()} for part in (training, validation)
    )
    assert not seen & held_out and len(held_out) == 6 * 20  # a fifth of 30 episodes of 20 steps
    batch = validation.batch(torch.arange(len(validation)))
    losses = [
        policy.loss(*batch, generator=torch.Generator().manual_seed(0)).item()
        for policy in (model.policy, model.learner)
    ]
    assert model.validation_loss() == pytest.approx(losses[0], rel=1e-5) and losses[0] != pytest.approx(
        losses[1], rel=1e-3
    )


def test_gradients_are_clipped() -> None:
    moved = []
    for limit in (1e-12, 1.0):
        model = cloning(max_grad_norm=limit, learning_rate=1e-2, weight_decay=0.0)
        before = flat(model.learner)
        moved.append((flat(model.learn(1).learner) - before).abs().max().item())
    assert moved[0] < 1e-4 * 1e-2 < 1e-3 < moved[1]  # Adam undoes any scale but that of its epsilon


def test_a_copy_learns_as_the_original_does() -> None:
    model = cloning(learning_rate=1e-2).learn(5)
    copies = [copy.deepcopy(model), cloudpickle.loads(cloudpickle.dumps(model))]
    model.learn(5, reset_num_timesteps=False)
    for other in copies:
        before = flat(other.policy)
        other.learn(5, reset_num_timesteps=False)
        assert not torch.equal(before, flat(other.policy)) and torch.equal(flat(other.policy), flat(model.policy))


def test_running_statistics_of_a_network_are_evaluated_too() -> None:
    class Normalizing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(2)

        def forward(self, x: Any, t: Any, condition: Any) -> Any:
            return self.norm(x)

    model = cloning("FlowPolicy", policy_kwargs={"network": Normalizing()}).learn(5)
    parts: Any = [policy.model.network.norm.running_mean for policy in (model.policy, model.learner)]
    assert parts[0].abs().max() > 0 and torch.equal(parts[0], parts[1])


def test_algorithms_from_the_same_arguments_do_not_train_each_other() -> None:
    arguments = {"network": ResidualMlp(2, 3, (16,))}
    first, second = (cloning("FlowPolicy", policy_kwargs=arguments) for _ in range(2))
    before = flat(first.policy)
    second.learn(5)
    assert torch.equal(before, flat(first.policy))


def test_statistics_come_from_the_training_episodes_and_travel_with_the_policy(tmp_path: Path) -> None:
    episodes = demonstrations(10)
    episodes[3] = (episodes[3][0] + 1_000, episodes[3][1])
    seen = set()
    for seed in range(6):
        model = cloning(data=episodes, seed=seed, validation_fraction=0.3)
        assert model._training is not None and model._validation is not None
        training = model._training.observations["observation"]
        normalizer: Any = model.policy.model.encoder.parts[0]  # type: ignore[union-attr, index]
        np.testing.assert_allclose(normalizer.mean, training.double().mean(0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(normalizer.std, training.double().std(0, correction=0), rtol=1e-4)
        seen.add(bool(normalizer.mean.max() < 10))
        save_policy(model.policy, tmp_path / "policy")
        loaded: Any = load_policy(tmp_path / "policy")
        assert torch.equal(loaded.model.encoder.parts[0].mean, normalizer.mean)
    assert seen == {False, True}  # the odd episode was held out in some splits


def test_callbacks_logger_and_progress_bar(tmp_path: Path) -> None:
    class Count(BaseCallback):
        def _on_step(self) -> bool:
            assert self.num_timesteps == self.n_calls
            return self.n_calls < 250

    venv = DummyVecEnv([Line] * 4)
    evaluation = EvalCallback(
        DummyVecEnv([Line] * 2), eval_freq=100, n_eval_episodes=4, log_path=str(tmp_path), verbose=0, warn=False
    )
    checkpoints = CheckpointCallback(100, str(tmp_path / "zips"))
    counter = Count()
    model = cloning(env=venv)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(1_000, callback=[evaluation, checkpoints, counter], log_interval=50, progress_bar=True)
    assert counter.n_calls == 250 == model.num_timesteps  # a callback may end it
    evaluations = np.load(tmp_path / "evaluations.npz")
    assert evaluations["timesteps"].tolist() == [100, 200] and "successes" in evaluations
    assert sorted(path.name for path in (tmp_path / "zips").iterdir()) == [
        "rl_model_100_steps.zip",
        "rl_model_200_steps.zip",
    ]
    header = (tmp_path / "progress.csv").read_text().splitlines()[0]
    for column in ("train/loss", "train/learning_rate", "validation/loss", "eval/mean_reward", "eval/success_rate"):
        assert column in header
    assert error(BehaviorCloning.load(tmp_path / "zips" / "rl_model_200_steps.zip")) < 1.0


def test_a_second_call_goes_on_and_a_loaded_algorithm_equals_one_that_was_not_cut(tmp_path: Path) -> None:
    whole = cloning("FlowPolicy", learning_rate=1e-3).learn(60)
    parts = cloning("FlowPolicy", learning_rate=1e-3).learn(35)
    parts.save(tmp_path / "model.zip")
    loaded = BehaviorCloning.load(tmp_path / "model.zip", device="cpu")
    observations = np.random.default_rng(0).normal(size=(5, 3))
    assert np.array_equal(
        loaded.predict(observations, deterministic=True)[0], parts.predict(observations, deterministic=True)[0]
    )
    with pytest.raises(RuntimeError, match="set_demonstrations"):
        loaded.learn(1)
    for model in (parts, loaded):
        if model is loaded:
            model.set_demonstrations(demonstrations())
        model.learn(25, reset_num_timesteps=False)
        assert model.num_timesteps == 60
    weights = [torch.nn.utils.parameters_to_vector(m.policy.parameters()) for m in (whole, parts, loaded)]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_load_takes_demonstrations(tmp_path: Path) -> None:
    whole = cloning("FlowPolicy", learning_rate=1e-3).learn(20)
    cloning("FlowPolicy", learning_rate=1e-3).learn(12).save(tmp_path / "model")
    loaded = BehaviorCloning.load(tmp_path / "model", env=Line(), device="cpu", demonstrations=demonstrations())
    assert torch.equal(flat(loaded.learn(8, reset_num_timesteps=False).policy), flat(whole.policy))


def test_the_first_zip_of_a_process_warns_that_it_can_run_any_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    cloning().save(tmp_path / "model.zip")
    for name in (tmp_path / "model.zip", str(tmp_path / "model"), io.BytesIO((tmp_path / "model.zip").read_bytes())):
        monkeypatch.setattr(pickled_files, "_has_warned", False)
        with pytest.raises(FileNotFoundError):  # nothing was loaded
            BehaviorCloning.load(tmp_path / "nothing")
        recwarn.clear()
        for _ in range(2):
            BehaviorCloning.load(name, device="cpu")
        (warning,) = [warning for warning in recwarn if warning.category is PickledFileWarning]
        assert str(name) in str(warning.message) and warning.filename == __file__


class Malicious:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("code of the file's has run"),)


def test_parameters_of_a_zip_run_no_code_and_do_not_warn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(pickled_files, "_has_warned", False)
    monkeypatch.chdir(tmp_path)
    trained = cloning().learn(5)
    vars(trained)["extra"] = Malicious()
    trained.save("model.zip")
    model = cloning()
    model.set_parameters("model.zip", device="cpu")
    assert torch.equal(flat(model.policy), flat(trained.policy))
    assert not Path("code of the file's has run").exists()
    assert not [warning for warning in recwarn if warning.category is PickledFileWarning]
    BehaviorCloning.load("model.zip", device="cpu")
    assert Path("code of the file's has run").exists()


def test_the_best_policy_by_a_callback_is_one_that_was_evaluated(tmp_path: Path) -> None:
    evaluation = EvalCallback(
        DummyVecEnv([Line]),
        eval_freq=50,
        n_eval_episodes=2,
        best_model_save_path=str(tmp_path),
        verbose=0,
        warn=False,
    )
    model = cloning(env=DummyVecEnv([Line])).learn(100, callback=evaluation)
    best = BehaviorCloning.load(tmp_path / "best_model.zip", device="cpu")
    assert best.num_timesteps in (50, 100)
    assert best.num_timesteps == 50 or torch.equal(flat(best.policy), flat(model.policy))


def test_an_env_is_needed_for_its_spaces_alone(tmp_path: Path) -> None:
    data = Demonstrations.from_episodes(demonstrations(), OBSERVED, ACTED)
    model = BehaviorCloning("MlpPolicy", None, data, seed=0, device="cpu").learn(20)
    assert model.env is None and model.action_space == ACTED
    evaluation = EvalCallback(DummyVecEnv([Line]), eval_freq=10, n_eval_episodes=1, verbose=0, warn=False)
    model.learn(20, callback=evaluation)
    assert evaluation.best_mean_reward > -np.inf
    model.save(tmp_path / "model")
    assert BehaviorCloning.load(tmp_path / "model", device="cpu").action_space == ACTED
    with pytest.raises(ValueError, match="know their spaces"):
        BehaviorCloning("MlpPolicy", None, demonstrations())
    with pytest.raises(ValueError, match="pass an env"):
        BehaviorCloning("MlpPolicy", None)


def test_spaces_that_differ_at_load_are_refused(tmp_path: Path) -> None:
    cloning().save(tmp_path / "model")
    with pytest.raises(ValueError, match="spaces do not match"):
        BehaviorCloning.load(tmp_path / "model", env=gymnasium.make("Pendulum-v1"))


class Pictures(gymnasium.Env[Any, Any]):
    observation_space = Dict({"camera": Box(0, 255, (36, 36, 3), np.uint8), "joints": OBSERVED})
    action_space = ACTED

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return self.observation_space.sample(), {}


@pytest.mark.parametrize("policy", ["FlowPolicy", "MlpPolicy"])
def test_pictures_come_with_the_channels_last_and_are_turned_as_the_env_is(policy: str) -> None:
    space = Pictures.observation_space
    space.seed(0)
    episodes = []
    for _ in range(3):
        rows = [space.sample() for _ in range(7)]
        observations = {name: np.stack([row[name] for row in rows]) for name in space}
        episodes.append((observations, expert(observations["joints"][:-1])))
    model = cloning(policy, Pictures(), episodes, policy_kwargs={"net_arch": (16,), "history": 2}).learn(3)
    assert model.observation_space["camera"].shape == (3, 36, 36)  # type: ignore[index]  # as SB3 turned it
    assert model._training is not None
    turned = model._training.observations["camera"][0].numpy()
    originals = [episode[0]["camera"][0].transpose(2, 0, 1) for episode in episodes]
    assert any(np.array_equal(turned, original) for original in originals)
    action, _ = model.predict(space.sample())
    assert action.shape == (2,)


def normalized(mean: float = 5.0, training: bool = False) -> Any:
    venv = VecNormalize(DummyVecEnv([Line]))
    rng = np.random.default_rng(0)
    for _ in range(50):
        venv.obs_rms.update(mean + 3 * rng.normal(size=(10, 3)))  # type: ignore[union-attr]
    venv.training = training
    return venv


def test_observations_are_normalised_as_the_env_normalises_them() -> None:
    venv = normalized(training=True)
    model = cloning(env=venv)
    raw = cloning()._training
    assert raw is not None
    observations = raw.observations["observation"].numpy()

    def check(env: Any) -> None:
        assert model._training is not None
        found = model._training.observations["observation"]
        np.testing.assert_allclose(found, env.normalize_obs(observations), atol=1e-6)

    check(venv)
    mean = venv.obs_rms.mean.copy()
    model.learn(3)
    assert np.array_equal(venv.obs_rms.mean, mean) and venv.training  # training does not move them
    check(venv)
    other = normalized(mean=-2.0)
    model.set_env(other)
    check(other)
    with pytest.raises(ValueError, match="seen nothing"):
        cloning(env=VecNormalize(DummyVecEnv([Line])))


def test_what_a_policy_saw_is_not_normalised_again() -> None:
    ppo = PPO("MlpPolicy", normalized(), n_steps=40, batch_size=20, n_epochs=1, seed=0, device="cpu").learn(40)
    for data in (ppo.rollout_buffer, as_demonstrations(ppo.rollout_buffer)):
        model = cloning(env=normalized(), data=data, validation_fraction=0.0)
        assert model._training is not None
        seen = ppo.rollout_buffer.observations.reshape(-1, 3)
        np.testing.assert_allclose(model._training.observations["observation"], seen, atol=1e-6)


def test_images_without_an_env_fit_what_sb3_shows() -> None:
    space = Pictures.observation_space
    space.seed(0)
    rows = [space.sample() for _ in range(5)]
    observations = {name: np.stack([row[name] for row in rows]) for name in space}
    episodes = [(observations, expert(observations["joints"][:-1]))] * 3
    data = Demonstrations.from_episodes(episodes, space, ACTED)
    model = BehaviorCloning("MlpPolicy", None, data, policy_kwargs={"net_arch": (16,)}, device="cpu").learn(2)
    model.set_env(Pictures())
    assert model.env is not None and model.env.observation_space == model.observation_space
    assert model.predict(model.env.reset())[0].shape == (1, 2)


def test_a_flow_policy_learns_what_the_statistics_do_not_need_to_see() -> None:
    images = Box(0, 255, (3, 64, 64), np.uint8)
    data = [(np.zeros((200, 3, 64, 64), np.uint8), np.zeros((200, 2), np.float32))] * 2
    env = Pictures()
    env.observation_space = images  # type: ignore[assignment]
    model = cloning("FlowPolicy", env, data, policy_kwargs={"net_arch": (16,), "history": 4}, validation_fraction=0.0)
    assert model._training is not None
    observations, actions = model._training.for_statistics()
    shown = observations["observation"]
    assert shown.shape == (400, 4, 3, 64, 64) and actions.shape == (400, 1, 2)
    assert shown.untyped_storage().nbytes() < 5 * 3 * 64 * 64  # of 400 windows, one is in memory


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "at least one episode"),
        ([(np.zeros((2, 3)), np.zeros((1, 2)))] * 3, "has 1 steps"),
        ([(np.zeros((5, 4)), np.zeros((4, 2)))] * 3, r"shape \(4,\), the observation space \(3,\)"),
        ([(np.zeros((5, 3)), np.zeros((4, 1)))] * 3, r"shape \(1,\), the action space \(2,\)"),
        ([(np.full((5, 3), np.nan), np.zeros((4, 2)))] * 3, "NaN"),
        ([(np.zeros((5, 3)), np.full((4, 2), np.inf))] * 3, "infinite"),
        ([(np.zeros((5, 3)), None)] * 3, "needs actions"),
        ([(np.zeros((5, 3)), np.full((4, 2), 9.0))] * 3, "lies outside of"),
        ([({"a": {"b": np.zeros(5)}}, np.zeros((4, 2)))] * 3, "nested"),
        ([({"a": np.zeros((5, 3))}, np.zeros((4, 2)))] * 3, r"observe \['a'\]"),
        ([(np.zeros((5, 3)), np.zeros((4, 2)))], "at least two episodes"),
    ],
)
def test_what_cannot_be_cloned_is_refused_before_training(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BehaviorCloning("MlpPolicy", Line(), data)


def test_other_things_than_demonstrations_are_refused() -> None:
    with pytest.raises(TypeError, match="demonstrations are"):
        BehaviorCloning("MlpPolicy", Line(), 3)
    with pytest.raises(FileNotFoundError):
        BehaviorCloning("MlpPolicy", Line(), "test/missing-v0")
    with pytest.raises(ValueError, match="policy must be a class or one of FlowPolicy, MlpPolicy"):
        BehaviorCloning("CnnPolicy", Line(), demonstrations())
    with pytest.raises(TypeError, match="action_space must be a Box"):
        BehaviorCloning("MlpPolicy", "CartPole-v1", [(np.zeros((5, 4)), np.zeros((4, 1)))] * 3)


def test_rollouts_of_sb3(tmp_path: Path) -> None:
    ppo = PPO("MlpPolicy", DummyVecEnv([Line] * 3), n_steps=24, batch_size=24, n_epochs=1, seed=0, device="cpu")
    seen: list[tuple[Any, Any, Any]] = []

    class Keep(BaseCallback):
        def _on_step(self) -> bool:
            obs = self.locals["obs_tensor"].numpy()
            seen.append((obs.copy(), self.locals["clipped_actions"].copy(), self.locals["dones"].copy()))
            return True

    ppo.learn(72, callback=Keep())
    expected = []  # env by env, episode by episode, pieces of at least two steps
    for env in range(3):
        ends = [k + 1 for k, (_, _, dones) in enumerate(seen) if dones[env]]
        for first, end in zip([0, *ends], [*ends, len(seen)], strict=True):
            if end - first >= 2:
                expected.append([(seen[k][0][env], seen[k][1][env]) for k in range(first, end)])
    for _ in range(2):  # a buffer that was sampled from is ordered otherwise
        found = as_demonstrations(ppo.rollout_buffer)
        assert found.lengths.tolist() == [len(piece) for piece in expected] == [10, 10, 4] * 3
        assert found.actions is not None
        np.testing.assert_allclose(
            found.observations["observation"], [obs for p in expected for obs, _ in p], atol=1e-6
        )
        np.testing.assert_allclose(found.actions, [a for p in expected for _, a in p], atol=1e-6)
        next(iter(ppo.rollout_buffer.get(8)))

    sac = SAC("MlpPolicy", Line(), learning_starts=200, buffer_size=40, seed=0, device="cpu")
    executed: list[Any] = []

    class Record(BaseCallback):
        def _on_step(self) -> bool:
            executed.append(self.locals["actions"][0].copy())
            return True

    sac.learn(65, callback=Record())
    replayed = as_demonstrations(sac.replay_buffer)
    assert replayed.lengths.tolist() == [5, 10, 10, 10, 5]  # the last 40 of 65 steps
    assert replayed.actions is not None
    np.testing.assert_allclose(replayed.actions, executed[-40:], atol=1e-5)
    assert replayed.last_observations is not None  # planners need them
    ends = np.cumsum(replayed.lengths)[:-1]
    lasts = replayed.last_observations["observation"]
    stored: Any = sac.replay_buffer
    order = np.roll(np.arange(40), -stored.pos)
    np.testing.assert_array_equal(lasts[:-1], stored.next_observations[order][ends - 1, 0])
    cloning(data=sac.replay_buffer).learn(2)
    cloning(data=ppo.rollout_buffer).learn(2)


def test_transitions_are_episodes_again() -> None:
    episodes = demonstrations(3)
    data = TransitionDataset.from_episodes([obs for obs, _ in episodes], [actions for _, actions in episodes])
    found = as_demonstrations(data)
    assert found.lengths.tolist() == [20, 20, 20] and found.last_observations is not None
    np.testing.assert_array_equal(found.last_observations["observation"], [obs[-1] for obs, _ in episodes])
    with pytest.raises(ValueError, match="has gaps"):
        as_demonstrations(data.select(np.arange(60) % 3 == 0))


def test_a_diverging_loss_is_reported() -> None:
    with pytest.raises(ValueError, match="lower the learning rate"):
        cloning(learning_rate=1e18, max_grad_norm=1e9).learn(200, log_interval=500)


def test_a_flow_keeps_both_modes_where_regression_has_none() -> None:
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(200):
        observations = rng.normal(size=(21, 3))
        sides = rng.choice([-0.9, 0.9], size=(20, 1))
        episodes.append((observations, np.repeat(sides, 2, axis=1)))
    observations = rng.normal(size=(400, 3))
    actions = {}
    for policy in ("FlowPolicy", "MlpPolicy"):
        model = cloning(policy, data=episodes, policy_kwargs={"net_arch": (128, 128)}, batch_size=256).learn(2_000)
        actions[policy], _ = model.predict(observations)
    share = (actions["FlowPolicy"][:, 0] > 0).mean()
    assert 0.35 < share < 0.65
    assert (np.abs(np.abs(actions["FlowPolicy"][:, 0]) - 0.9) < 0.3).mean() > 0.9
    assert (np.abs(actions["MlpPolicy"][:, 0]) < 0.5).mean() > 0.9


def test_a_student_in_the_policys_place_is_saved_alone_and_never_as_a_zip_that_cannot_be_loaded(tmp_path: Path) -> None:
    model = cloning("FlowPolicy", policy_kwargs={}).learn(2)
    student = DistilledFlowModel.of(model.policy.model)
    model.policy = model.policy.with_flow(student)
    with pytest.raises(ValueError, match="save_policy"):
        model.save(tmp_path / "student.zip")
    assert not (tmp_path / "student.zip").exists()
    save_policy(model.policy, tmp_path / "student")
    observation = np.zeros(3)
    torch.manual_seed(0)
    expected, _ = model.policy.predict(observation)
    torch.manual_seed(0)
    np.testing.assert_array_equal(load_policy(tmp_path / "student").predict(observation)[0], expected)

"""Everything that the library reads from files: how a sound one is made, broken, and used."""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict
from stable_baselines3 import PPO, SAC

from benchmarks.fuzz.file_mutations import Rng, mutate_bytes, replace_file
from benchmarks.fuzz.graph_mutations import mutate_arrays, mutate_graph
from benchmarks.fuzz.json_mutations import mutate_header, mutate_json, mutate_metadata, mutate_value
from benchmarks.fuzz.predictions import ask
from generative_policies.action_translation import FlowActionPriorConditionedTranslator, MlpActionTranslator
from generative_policies.checkpoints import CheckpointError, load, save
from generative_policies.data import DatasetError, Demonstrations, TransitionDataset
from generative_policies.envs import DynamicsShift, DynamicsShiftWrapper, RewiredMotorsWrapper, make_env
from generative_policies.export import OnnxModel, export_onnx
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.inverse_dynamics import FlowInverseDynamics, MlpInverseDynamics
from generative_policies.models import (
    ConditionalFlowModel,
    DictObservationEncoder,
    DiffusionTransformer,
    DistilledFlowModel,
    LatentBridgeModel,
    MlpRegressor,
)
from generative_policies.policies import (
    FlowPlanner,
    FlowPolicy,
    InverseDynamicsPolicy,
    MlpPolicy,
    TranslatedPolicy,
    load_policy,
    save_policy,
)
from generative_policies.rollouts import Episode, random_act, run_episodes
from generative_policies.rollouts.aggregation import read_round, write_round
from generative_policies.rollouts.minari_datasets import dataset_env, read_dataset, write_dataset
from generative_policies.rollouts.provenance import read_json, same_settings, write_json
from generative_policies.training import FitSettings, fit
from generative_policies.wrappers import ActionTranslationWrapper, InverseDynamicsWrapper

Mutation = Callable[[Path, Rng], str]
ENV_ID = "InvertedPendulum-v5"  # of specs


def names_file(folder: Path, error: Exception) -> bool:
    """Return whether an error names the file, or the folder, of a case."""
    return str(folder) in str(error)


@dataclass(frozen=True)
class Subject:
    """A kind of file, or of folder.

    Attributes:
        make: Writes sound ones, each into a folder of its own below the given one.
        use: Reads one, uses what it holds, and returns the shape of an answer beside the shape it should have.
        errors: What ``use`` may raise.
        mutations: By the end of a file's name, what breaks one while it stays of its kind.
        names: Whether an error of these says what it is about: the file, unless something else is given.
        is_file: Whether it is read from a file, whose bytes may be anything.
    """

    make: Callable[[Path], None]
    use: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]
    mutations: Mapping[str, tuple[Mutation, ...]]
    names: Callable[[Path, Exception], bool] = names_file
    is_file: bool = True

    def mutate(self, folder: Path, mark: Path, rng: Rng) -> str:
        """Break one of a folder's files, sometimes two; return how the first one was."""
        files = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix in self.mutations)
        done: list[str] = []
        for _ in range(1 + int(rng.random() < 0.1)):
            file = files[rng.integers(len(files))]
            if not file.is_file() or file.is_symlink():
                continue
            way, own = rng.random() if self.is_file else 0.0, self.mutations[file.suffix]
            if own and way < 0.5 and (not done or not self.is_file):
                name = own[rng.integers(len(own))](file, rng)
            elif way < (0.85 if own else 0.7):
                name = mutate_bytes(file, rng)
            else:
                name = f"replaced: {replace_file(file, mark, rng)}"
            done.append(name)
        return done[0]


def random_weights(model: torch.nn.Module) -> Any:
    """Give a model weights that are nowhere zero, so that answers depend on all of them."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def make_checkpoints(folder: Path) -> None:
    """Write a checkpoint of each kind of model."""
    inverse = FlowInverseDynamics(2, 4, (8,), next_obs_dim=3, num_steps=3)
    models: list[torch.nn.Module] = [
        MlpActionTranslator(2, 4, (8, 8), source_action_dim=3),
        FlowActionPriorConditionedTranslator(2, 4, (8,), num_steps=3),
        ConditionalFlowModel(3, 4, 8, (8, 16)),
        ConditionalFlowModel(2, 3, down_dims=(8, 16), horizon=4, diffusion_step_embed_dim=8),
        ConditionalFlowModel(2, horizon=4, network=DiffusionTransformer(2, 0, 8, 2, 2, horizon=4)),
        LatentBridgeModel(3, 4, bridge_sigma=0.3, down_dims=(8,)),
        inverse.with_flow(DistilledFlowModel.of(inverse.flow)),
        MlpInverseDynamics(2, 4, (8,)),
        MlpForwardDynamics(4, 2, (8,), members=3),
        MlpRegressor(2, 12, (8,), encoder=DictObservationEncoder({"a": (4,), "b": (8, 8, 3)}, 8), horizon=2),
        FlowPlanner(4, (8,), next_obs_dim=3, horizon=2, num_steps=5),
    ]
    for k, model in enumerate(models):
        save(random_weights(model), folder / str(k) / "model")


def make_policies(folder: Path) -> None:
    """Write a policy of each kind."""
    env = gymnasium.make("Pendulum-v1")
    observed, acted = env.observation_space, env.action_space
    small: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu"}
    ppo, sac = PPO("MlpPolicy", env, **small).policy, SAC("MlpPolicy", env, buffer_size=1, **small).policy
    policies = [
        FlowPolicy(observed, acted, net_arch=(8,), horizon=3, num_steps=3),
        MlpPolicy(observed, acted, net_arch=(8,), history=2),
        ppo,
        sac,
        TranslatedPolicy(observed, acted, ppo, MlpActionTranslator(1, 3, (8,))),
        InverseDynamicsPolicy(observed, acted, FlowPlanner(3, (8,), num_steps=2), MlpInverseDynamics(1, 3, (8,))),
    ]
    for k, policy in enumerate(policies):
        save_policy(policy, folder / str(k) / "model")


def use_policy(folder: Path) -> Any:
    """Load a policy and ask it for actions."""
    policy: Any = load_policy(folder / "model")
    space = policy.observation_space
    entries: dict[str, Any] = dict(space.items()) if isinstance(space, Dict) else {"": space}
    rows = {name: np.nan_to_num(entry.low, neginf=0) for name, entry in entries.items()}
    actions, _ = policy.predict(rows if isinstance(space, Dict) else rows[""])
    return actions.shape, policy.action_space.shape


def make_exports(folder: Path) -> None:
    """Write an exported model of each kind."""
    models: list[torch.nn.Module] = [
        MlpActionTranslator(2, 4, (8,)),
        FlowActionPriorConditionedTranslator(2, 4, (8,), num_steps=2),
        MlpInverseDynamics(2, 4, (8,), next_obs_dim=3),
        MlpForwardDynamics(4, 2, (8,)),
        MlpRegressor(2, 12, (8,), encoder=DictObservationEncoder({"a": (4,), "b": (8, 8, 3)}, 8)),
    ]
    for k, model in enumerate(models):
        (folder / str(k)).mkdir(parents=True)
        export_onnx(random_weights(model), folder / str(k) / "model.onnx")
    (folder / "5").mkdir()
    flow = ConditionalFlowModel(2, 3, down_dims=(8, 16), horizon=4, diffusion_step_embed_dim=8)
    export_onnx(random_weights(flow), folder / "5" / "model.onnx", num_steps=2)


def training(state: Path, cut_off_at: int | None = None) -> Any:
    """Train a small model, with its state in a file; ``cut_off_at`` ends it at an update, by an error."""

    def log(update: int, figures: Mapping[str, float]) -> None:
        if update == cut_off_at:
            raise KeyboardInterrupt

    rng = np.random.default_rng(0)
    data = TransitionDataset(
        episodes=np.repeat(np.arange(4), 8),
        obs=rng.normal(size=(32, 3)),
        actions=rng.normal(size=(32, 2)),
        next_obs=rng.normal(size=(32, 3)),
    )
    model = random_weights(MlpInverseDynamics(2, 3, (8,)))
    settings = FitSettings(num_updates=10, batch_size=8, num_validations=2)
    fit(model, data, settings, generator=torch.Generator().manual_seed(0), log=log, state=state)
    return model


def make_states(folder: Path) -> None:
    """Write the state of a training that was cut off."""
    (folder / "0").mkdir(parents=True)
    with suppress(KeyboardInterrupt):
        training(folder / "0" / "state.safetensors", cut_off_at=5)


def make_datasets(folder: Path) -> None:
    """Write Minari datasets, with all infos and without."""

    def make() -> gymnasium.Env[Any, Any]:
        return make_env("Reacher-v5", {"gear": 0.7})

    for k, record in enumerate((True, False)):
        episodes = run_episodes(make, random_act(make().action_space), range(1_000, 1_002), record_states=record)
        write_dataset(folder / str(k) / "data_set", episodes, make(), {})


def use_dataset(folder: Path) -> Any:
    """Read a dataset in each way."""
    episodes = read_dataset(folder / "data_set")
    dataset_env(folder / "data_set")
    demonstrations = Demonstrations.from_minari(folder / "data_set")
    return episodes[0].observations.shape[1:], demonstrations.observations["observation"].shape[1:]


def make_rounds(folder: Path) -> None:
    """Write a round of episodes, as aggregation keeps it."""
    rng = np.random.default_rng(0)
    episodes = [
        Episode(seed, rng.normal(size=(6, 3)), rng.normal(size=(5, 2)), rng.normal(size=5), None) for seed in range(3)
    ]
    (folder / "0").mkdir(parents=True)
    write_round(episodes, torch.Generator().manual_seed(0), folder / "0" / "round.npz")


def use_round(folder: Path) -> Any:
    """Read a round of episodes."""
    episodes, generator = read_round(folder / "round.npz")
    return (), () if episodes and generator is not None else (1,)


@dataclass(frozen=True)
class ResultSettings:
    """Settings of a command."""

    seed: int = 0
    envs: tuple[str, ...] = ("a", "b")


def make_results(folder: Path) -> None:
    """Write the JSON of a command's results."""
    write_json(folder / "0" / "report.json", ResultSettings(), {"arms": {"a": [1.0, 2.0]}, "inputs": {}})


def use_results(folder: Path) -> Any:
    """Read results as a command does that finds some."""
    file = folder / "report.json"
    same_settings(file, ResultSettings())
    read_json(file)
    return (), ()


def make_specs(folder: Path) -> None:
    """Write specs of wrapped envs, and arguments of ``make_env``, as JSON."""
    for k in range(3):
        (folder / str(k)).mkdir(parents=True)
    translator, inverse = folder / "models" / "translator", folder / "models" / "inverse_dynamics"
    save(random_weights(MlpActionTranslator(1, 4, (8,))), translator)
    save(random_weights(MlpInverseDynamics(1, 4, (8,))), inverse)
    shifted: dict[str, Any] = {"shift": {"mass": 1.5, "gear": 0.9}, "motors": [0], "motor_signs": [-1]}
    env = make_env(ENV_ID, **shifted)
    space = Box(-1.0, 1.0, (1,))
    envs = [
        ActionTranslationWrapper(env, translator, space, 4),
        InverseDynamicsWrapper(env, inverse),
    ]
    for k, wrapped in enumerate(envs):
        spec = wrapped.spec
        assert spec is not None
        described = json.loads(spec.to_json())
        kwargs = [wrapper["kwargs"] for wrapper in described["additional_wrappers"]]
        (folder / str(k) / "spec.text").write_text(spec.to_json())
        (folder / str(k) / "arguments.json").write_text(json.dumps({"arguments": kwargs}))
    (folder / "2" / "arguments.json").write_text(json.dumps({"arguments": shifted}))


def mutate_arguments(file: Path, rng: Rng) -> str:
    """Change the arguments of the library's own wrappers: the functions that a spec names are Gymnasium's to call."""
    described = json.loads(file.read_text())
    described["arguments"] = mutate_value(described["arguments"], rng)
    file.write_text(json.dumps(described))
    return "arguments changed"


def use_spec(folder: Path) -> Any:
    """Make the env of a spec, and take a step in it."""
    arguments = json.loads((folder / "arguments.json").read_text())["arguments"]
    if (folder / "spec.text").is_file():
        described = json.loads((folder / "spec.text").read_text())
        found = arguments if isinstance(arguments, list) else []
        for wrapper, kwargs in zip(described["additional_wrappers"], found, strict=False):
            wrapper["kwargs"] = kwargs if isinstance(kwargs, dict) else {}
        env = gymnasium.make(EnvSpec.from_json(json.dumps(described)))
    else:
        known = ("shift", "motors", "motor_signs")
        given = arguments if isinstance(arguments, dict) else {"shift": arguments}
        env = make_env(ENV_ID, **{name: given[name] for name in known if name in given})
    env.reset(seed=0)
    observation, *_ = env.step(np.zeros(env.action_space.shape or (), np.float32))
    return observation.shape, env.observation_space.shape


WRAPPERS = (ActionTranslationWrapper, DynamicsShiftWrapper, InverseDynamicsWrapper, RewiredMotorsWrapper)
SPEC_NAMES = {field.name for field in fields(DynamicsShift)} | {
    name for cls in WRAPPERS for name in signature(cls.__init__).parameters if name not in ("self", "env")
}
# Whole words, or what Python says of a call with other arguments than a class has.
SPEC_NAMED = re.compile(
    "|".join(
        [
            *(rf"\b{name}\b" for name in sorted(SPEC_NAMES | {"motor_signs", ENV_ID})),
            *(rf"{cls.__name__}\.__init__\(\)" for cls in WRAPPERS),
        ]
    )
)


def names_argument(folder: Path, error: Exception) -> bool:
    """Return whether an error names an argument of a spec, or the env, or is one of a class that says enough.

    A checkpoint's names the file that an argument names, and Gymnasium's own errors are its own.
    """
    known = isinstance(error, CheckpointError | gymnasium.error.Error)
    return known or SPEC_NAMED.search(str(error)) is not None


WEIGHTS = {".json": (mutate_json,), ".safetensors": (mutate_header,)}
SUBJECTS: dict[str, Subject] = {
    "checkpoint": Subject(make_checkpoints, lambda folder: ask(load(folder / "model")), (CheckpointError,), WEIGHTS),
    "policy": Subject(make_policies, use_policy, (CheckpointError,), WEIGHTS),
    "exported model": Subject(
        make_exports,
        lambda folder: ask(OnnxModel.load(folder / "model.onnx")),
        (CheckpointError,),
        {".onnx": (mutate_graph, mutate_graph, mutate_metadata)},
    ),
    "training state": Subject(
        make_states,
        lambda folder: ask(training(folder / "state.safetensors")),
        (ValueError, IsADirectoryError),
        {".safetensors": (mutate_header,)},
    ),
    "dataset": Subject(
        make_datasets, use_dataset, (DatasetError,), {".json": (mutate_json,), ".hdf5": (mutate_arrays,)}
    ),
    "round of episodes": Subject(make_rounds, use_round, (DatasetError,), {".npz": ()}),
    "results": Subject(make_results, use_results, (ValueError, OSError), {".json": (mutate_json,)}),
    "env spec": Subject(
        make_specs,
        use_spec,
        (ValueError, TypeError, AttributeError, gymnasium.error.Error),
        {".json": (mutate_arguments,)},
        names_argument,
        is_file=False,
    ),
}

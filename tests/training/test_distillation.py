"""A student answers as its teacher does, in one step or a few."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from generative_policies.action_translation import (
    FlowActionConditionedTranslator,
    FlowActionPriorConditionedTranslator,
    FlowActionPriorTranslator,
    MlpActionTranslator,
)
from generative_policies.checkpoints import load, save
from generative_policies.data import ActionPairDataset, EpisodicDataset
from generative_policies.inverse_dynamics import FlowInverseDynamics
from generative_policies.models import (
    ConditionalFlowModel,
    DictObservationEncoder,
    DistilledFlowModel,
    LiftedSourcePrior,
    ResidualMlp,
    SourcePrior,
)
from generative_policies.policies import BehaviorCloning, FlowPlanner, FlowPolicy, load_policy, save_policy
from generative_policies.training import DistillationSettings, distill, reflow

SHORT = DistillationSettings(num_updates=30, batch_size=32, num_samples=200, num_validations=3)
LEARNING = DistillationSettings(num_updates=1_000, batch_size=128, num_samples=4_000, learning_rate=3e-3)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def scrambled(model: Any, std: float = 0.15) -> Any:
    """Give a model weights that are trivial nowhere, so that its many steps differ from one."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(std * torch.randn_like(parameter))
    return model.eval()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unexplained(student: Tensor, teacher: Tensor) -> float:
    """The share of the teacher's variance that a student misses."""
    return ((student - teacher).square().mean() / teacher.var()).item()


def teacher_with(**parts: Any) -> ConditionalFlowModel:
    network = ResidualMlp(2, 3, (32, 32), horizon=parts.get("horizon", 1))
    model = scrambled(ConditionalFlowModel(2, 3, network=network, **parts), 0.4)
    shape = (50, *model.sample_shape)
    source = None if model.source_shape is None else torch.randn(50, *model.source_shape)
    model.fit_normalizers(1 + 2 * torch.randn(shape), 2 + torch.randn(50, 3), source)
    return model


@pytest.mark.parametrize("num_steps", [1, 2])
@pytest.mark.parametrize(
    "parts",
    [{}, {"horizon": 4}, {"prior": SourcePrior(2, 0.5)}, {"prior": LiftedSourcePrior(2, 4, 0.5)}],
    ids=["plain", "chunks", "source", "lifted source"],
)
def test_a_student_gives_the_teachers_sample_of_the_same_noise(parts: dict[str, Any], num_steps: int) -> None:
    teacher = teacher_with(**parts)

    def inputs(rows: int) -> dict[str, Tensor]:
        found = {"condition": 2 + torch.randn(rows, 3)}
        return found if teacher.source_shape is None else found | {"source": torch.randn(rows, *teacher.source_shape)}

    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    network = ResidualMlp(2, 3, (128, 128), horizon=teacher.horizon)
    student = distill(teacher, inputs(2_000), num_steps, LEARNING, generator=generator(), network=network)
    fresh, noise = inputs(500), torch.randn(500, *teacher.sample_shape)
    many = teacher.predict(**fresh, noise=noise)
    one_euler_step = teacher.predict(**fresh, noise=noise, num_steps=num_steps)
    few = student.predict(**fresh, noise=noise)
    assert unexplained(few, many) < 0.02
    assert unexplained(few, many) < 0.3 * unexplained(one_euler_step, many)  # the steps do matter
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_a_student_without_condition_keeps_both_modes() -> None:
    """The exact velocity from a Gaussian to two points: one Euler step of it ends between them."""

    class TwoPoints(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.device_holder = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
            left = (1 - t[:, None]).clamp_min(0.05)
            mean = torch.tanh(t[:, None] * x / left.square())  # of points at -1 and 1, given x_t
            return (mean - x) / left

    teacher = ConditionalFlowModel(1, network=TwoPoints())
    student = distill(teacher, None, settings=LEARNING, generator=generator())
    near = {
        name: ((samples.abs() - 1).abs() < 0.3).float().mean().item()
        for name, samples in {
            "one Euler step": teacher.predict(1_000, num_steps=1, generator=generator(1)),
            "student": student.predict(1_000, generator=generator(1)),
        }.items()
    }
    assert near["one Euler step"] < 0.1
    assert near["student"] > 0.9
    share = (student.predict(1_000, generator=generator(2)) > 0).float().mean().item()
    assert abs(share - 0.5) < 0.06  # a fair coin leaves it once in 10,000 times


def pairs(rows: int = 300) -> ActionPairDataset:
    rng = np.random.default_rng(0)
    obs, source = rng.standard_normal((rows, 4)), rng.uniform(-1, 1, (rows, 3))
    return ActionPairDataset(np.arange(rows) // 30, obs, source, source[:, :2])


Translators = (FlowActionPriorTranslator, FlowActionConditionedTranslator, FlowActionPriorConditionedTranslator)


@pytest.mark.parametrize("kind", Translators)
def test_translators(kind: Any, tmp_path: Path) -> None:
    data = pairs()
    teacher = scrambled(kind(2, 4, (32,), source_action_dim=3, num_steps=8))
    student = distill(teacher, data, settings=SHORT, generator=generator())
    assert type(student) is kind and student.num_steps == 1
    assert isinstance(student.flow, DistilledFlowModel)
    save(student, tmp_path / "student")
    loaded: Any = load(tmp_path / "student")
    obs, source, noise = np.ones(4), np.ones(3), np.ones(2)
    answer = student.predict(obs, source, noise=noise)
    assert np.array_equal(loaded.predict(obs, source, noise=noise), answer)
    assert loaded.num_steps == 1
    with pytest.raises(ValueError, match="distilled to num_steps=1"):
        loaded.predict(obs, source, num_steps=2)


def test_a_translators_student_learns_its_steps() -> None:
    teacher = scrambled(FlowActionPriorTranslator(2, 4, (32, 32), num_steps=8), 0.4)
    rows = {"obs": torch.randn(2_000, 4), "source_actions": torch.randn(2_000, 2)}
    student = distill(teacher, rows, settings=LEARNING, generator=generator())
    obs, source, noise = torch.randn(500, 4), torch.randn(500, 2), torch.randn(500, 2)
    many = teacher.predict(obs, source, noise=noise)
    assert unexplained(student.predict(obs, source, noise=noise), many) < 0.02
    assert unexplained(teacher.predict(obs, source, noise=noise, num_steps=1), many) > 0.05


def test_a_student_of_a_dictionary(tmp_path: Path) -> None:
    encoder = DictObservationEncoder({"camera": Box(0, 255, (3, 36, 36), np.uint8), "joints": Box(-1, 1, (4,))}, 8)
    teacher = FlowActionConditionedTranslator(2, encoder.output_dim, (16,), encoder=encoder)
    obs = {
        "camera": np.random.default_rng(0).integers(0, 256, (20, 3, 36, 36), dtype=np.uint8),
        "joints": np.zeros((20, 4), dtype=np.float32),
    }
    student = distill(teacher, {"obs": obs, "source_actions": np.zeros((20, 2))}, settings=SHORT, generator=generator())
    assert student.predict(obs, np.zeros((20, 2))).shape == (20, 2)
    save(student, tmp_path / "student")
    loaded: Any = load(tmp_path / "student")
    one = {name: value[0] for name, value in obs.items()}
    noise = np.ones(2)
    assert np.array_equal(loaded.predict(one, noise, noise=noise), student.predict(one, noise, noise=noise))


def test_inverse_dynamics(tmp_path: Path) -> None:
    teacher = scrambled(FlowInverseDynamics(2, 4, (16,), next_obs_dim=3))
    rows = {"obs": np.zeros((50, 4)), "next_obs": np.ones((50, 3))}
    student = distill(teacher, rows, settings=SHORT, generator=generator())
    assert student.num_steps == 1
    save(student, tmp_path / "student")
    loaded: Any = load(tmp_path / "student")
    arguments = (np.ones(4), np.zeros(3))
    answer = student.predict(*arguments, noise=np.ones(2))
    assert answer.shape == (2,)
    assert np.array_equal(loaded.predict(*arguments, noise=np.ones(2)), answer)


def test_planner(tmp_path: Path) -> None:
    teacher = scrambled(FlowPlanner(4, (16,), next_obs_dim=2, horizon=3))
    student = distill(teacher, {"obs": np.zeros((50, 4))}, settings=SHORT, generator=generator())
    save(student, tmp_path / "student")
    loaded: Any = load(tmp_path / "student")
    noise = np.ones((3, 2))
    answer = student.predict(np.ones(4), noise=noise)
    assert answer.shape == (3, 2)
    assert np.array_equal(loaded.predict(np.ones(4), noise=noise), answer)


def test_policy(tmp_path: Path) -> None:
    env = gymnasium.make("Pendulum-v1")
    teacher = FlowPolicy(env.observation_space, env.action_space, (16,), horizon=3, replan_interval=2)
    rows = {"observations": {"observation": np.zeros((50, 3), dtype=np.float32)}}
    student = distill(teacher, rows, settings=SHORT, generator=generator())
    assert isinstance(student, FlowPolicy) and student.num_steps == 1 and student.replan_interval == 2
    save_policy(student, tmp_path / "student")
    loaded = load_policy(tmp_path / "student")
    observation, _ = env.reset(seed=0)
    action, _ = student.predict(observation, deterministic=True)
    assert np.array_equal(loaded.predict(observation, deterministic=True)[0], action)
    assert env.action_space.contains(action)


def test_reflow_straightens() -> None:
    teacher = teacher_with()
    condition = 2 + torch.randn(2_000, 3)
    straight = reflow(teacher, condition, LEARNING, generator=generator())
    assert type(straight) is ConditionalFlowModel
    fresh, noise = 2 + torch.randn(500, 3), torch.randn(500, 2)
    many = teacher.predict(condition=fresh, noise=noise)
    two = {
        name: unexplained(model.predict(condition=fresh, noise=noise, num_steps=2), many)
        for name, model in {"teacher": teacher, "straight": straight}.items()
    }
    assert two["straight"] < 0.3 * two["teacher"]
    bent = {
        name: (lengths.integrated.sum() / lengths.straight.sum()).item() - 1
        for name, lengths in {
            name: model.path_length(condition=fresh, noise=noise)
            for name, model in {"teacher": teacher, "straight": straight}.items()
        }.items()
    }
    assert bent["straight"] < 0.5 * bent["teacher"]


def test_reflow_keeps_a_translators_number_of_steps() -> None:
    teacher = scrambled(FlowActionConditionedTranslator(2, 4, (16,), 3, num_steps=6))
    straight = reflow(teacher, pairs(), SHORT, generator=generator())
    assert straight.num_steps == 6
    assert straight.predict(np.ones(4), np.ones(3), num_steps=2).shape == (2,)


def test_reflow_keeps_a_policys_solver_and_steps() -> None:
    env = gymnasium.make("Pendulum-v1")
    teacher = FlowPolicy(env.observation_space, env.action_space, (16,), solver="heun", num_steps=3)
    rows = {"observations": {"observation": np.zeros((50, 3), dtype=np.float32)}}
    straight = reflow(teacher, rows, SHORT, generator=generator())
    assert (straight.solver, straight.num_steps) == ("heun", 3)
    assert distill(teacher, rows, settings=SHORT, generator=generator()).solver == "euler"


def test_a_given_network_is_left_as_it_is() -> None:
    network = ResidualMlp(2, 3, (8,), 0)
    before = [parameter.clone() for parameter in network.parameters()]
    student = distill(teacher_with(), torch.ones(10, 3), settings=SHORT, generator=generator(), network=network)
    assert student.network is not network
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_same_seed_same_student() -> None:
    teacher = teacher_with()
    first, second, other = (
        distill(teacher, torch.ones(10, 3), settings=SHORT, generator=generator(seed)) for seed in (0, 0, 1)
    )
    weights = [list(model.parameters()) for model in (first, second, other)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))


@pytest.mark.parametrize("how", [distill, reflow])
def test_cut_off_it_goes_on(how: Callable[..., nn.Module], tmp_path: Path) -> None:
    class CutError(Exception):
        pass

    def cut(update: int, figures: object) -> None:
        if update >= 10:
            raise CutError

    teacher, condition, state = teacher_with(), torch.randn(40, 3), tmp_path / "state"
    whole = how(teacher, condition, settings=SHORT, generator=generator())
    with pytest.raises(CutError):
        how(teacher, condition, settings=SHORT, generator=generator(), log=cut, state=state)
    assert state.exists()
    updates: list[int] = []
    rest = how(
        teacher,
        condition,
        settings=SHORT,
        generator=generator(),
        state=state,
        log=lambda update, figures: updates.append(update),
    )
    assert updates == [20, 30]
    assert not state.exists()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), rest.parameters(), strict=True))
    with pytest.raises(CutError):
        how(teacher, condition, settings=SHORT, generator=generator(), log=cut, state=state)
    with pytest.raises(ValueError, match="another training"):
        how(teacher, condition + 1, settings=SHORT, generator=generator(), state=state)


def test_what_cannot_be_distilled_is_refused() -> None:
    with pytest.raises(TypeError, match="got MlpActionTranslator"):
        distill(MlpActionTranslator(2, 3), {}, settings=SHORT, generator=generator())
    with pytest.raises(ValueError, match=r"must hold obs, source_actions; got \['obs'\]"):
        distill(FlowActionPriorTranslator(2, 3), {"obs": np.zeros((5, 3))}, settings=SHORT, generator=generator())
    with pytest.raises(ValueError, match="condition is missing"):
        distill(ConditionalFlowModel(2, 3), settings=SHORT, generator=generator())
    with pytest.raises(ValueError, match="source is missing"):
        distill(ConditionalFlowModel(2, prior=SourcePrior(2)), settings=SHORT, generator=generator())
    with pytest.raises(ValueError, match="condition is superfluous"):
        distill(ConditionalFlowModel(2), torch.zeros(5, 3), settings=SHORT, generator=generator())
    student = distill(ConditionalFlowModel(2), settings=SHORT, generator=generator())
    with pytest.raises(TypeError, match="learns from its teacher's samples"):
        student(torch.zeros(5, 2))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    with pytest.raises(TypeError, match="learns from its teacher's samples"):
        student.fit_normalizers(1 + torch.randn(5, 2))
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    with pytest.raises(ValueError, match="at least one row"):
        distill(ConditionalFlowModel(2, 3), torch.zeros(0, 3), settings=SHORT, generator=generator())
    with pytest.raises(TypeError, match="got DistilledFlowModel"):
        reflow(student, settings=SHORT, generator=generator())


@pytest.mark.parametrize("name", ["num_samples", "teacher_num_steps", "num_updates"])
def test_settings_are_checked(name: str) -> None:
    wrong: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=name):
        DistillationSettings(**wrong)


def test_a_student_is_refused_steps_and_solvers_when_it_is_put_in() -> None:
    env = gymnasium.make("Pendulum-v1")
    spaces = env.observation_space, env.action_space
    student = DistilledFlowModel.of(FlowPolicy(*spaces, (8,)).model)
    assert FlowPolicy(*spaces, flow=student).num_steps == 1
    for wrong in ({"num_steps": 5}, {"solver": "heun"}):
        with pytest.raises(ValueError, match="distilled to num_steps=1"):
            FlowPolicy(*spaces, flow=student, **wrong)  # type: ignore[arg-type]  # any of them
    with pytest.raises(ValueError, match="DictObservationEncoder"):
        FlowPolicy(*spaces, flow=ConditionalFlowModel(1, 3))
    flow = DistilledFlowModel(2, 3, 1, prior=SourcePrior(2))
    with pytest.raises(ValueError, match="distilled to num_steps=1"):
        FlowActionPriorTranslator(2, 3, num_steps=7, flow=flow)
    with pytest.raises(TypeError, match="learns from its teacher's samples"):
        BehaviorCloning("FlowPolicy", env, [(np.zeros((9, 3)), np.zeros((8, 1)))] * 2, policy_kwargs={"flow": student})


def test_frozen_teachers_teach() -> None:
    teacher = teacher_with().requires_grad_(False)
    straight = reflow(teacher, torch.randn(20, 3), SHORT, generator=generator())
    assert all(parameter.requires_grad for parameter in straight.network.parameters())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_dataset_serves_a_flow() -> None:
    class Rows(EpisodicDataset):
        def arrays(self) -> dict[str, Any]:
            return {"target": np.zeros((9, 2)), "condition": np.ones((9, 3))}

    student = distill(teacher_with(), Rows(np.arange(9)), settings=SHORT, generator=generator())
    assert student.predict(condition=np.ones(3)).shape == (2,)


def test_a_given_flow_must_fit() -> None:
    with pytest.raises(ValueError, match="target_dim 2, got 3"):
        FlowActionConditionedTranslator(2, 4, source_action_dim=3, flow=ConditionalFlowModel(3, 7))
    with pytest.raises(ValueError, match="needs an ObservationAndVectorEncoder"):
        FlowActionConditionedTranslator(2, 4, source_action_dim=3, flow=ConditionalFlowModel(2, 7))
    with pytest.raises(ValueError, match="prior_noise"):
        FlowActionPriorTranslator(2, 4, prior_noise=0.1, flow=ConditionalFlowModel(2, 4, prior=SourcePrior(2)))
    with pytest.raises(ValueError, match="encoder of transitions"):
        FlowInverseDynamics(2, 4, flow=ConditionalFlowModel(2, 8))
    with pytest.raises(ValueError, match="horizon 3, got 1"):
        FlowPlanner(4, horizon=3, flow=ConditionalFlowModel(4, 4))

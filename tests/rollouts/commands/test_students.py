"""The command train with a teacher: students of models and of policies from recorded conditions."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generative_policies.action_translation import FlowActionConditionedTranslator, MlpActionTranslator
from generative_policies.checkpoints import CheckpointError, load, save
from generative_policies.envs import make_env
from generative_policies.inverse_dynamics import FlowInverseDynamics
from generative_policies.models import AverageVelocityModel
from generative_policies.policies import FlowPlanner, FlowPolicy, load_policy, save_policy
from generative_policies.rollouts import students as students_module
from generative_policies.rollouts.commands.collect import CollectSettings, collect
from generative_policies.rollouts.commands.evaluate import EvaluateSettings, evaluate
from generative_policies.rollouts.commands.export import ExportSettings, export
from generative_policies.rollouts.commands.pair import PairSettings, pair
from generative_policies.rollouts.commands.train import TrainSettings, train
from generative_policies.rollouts.provenance import digest
from generative_policies.training import distill

ENV = "InvertedDoublePendulum-v5"
WEAK = '{"gear": 0.5}'


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "target"
    return collect(CollectSettings(ENV, policy=ENV, shift=WEAK, noise=(0.1, 0.3), episodes=3, output=folder))


def student_of(teacher: Path, data: Path, output: Path, **changes: Any) -> Path:
    given: dict[str, Any] = {"updates": 40, "num_samples": 300}
    return train(TrainSettings((data,), teacher=teacher, output=output, **given | changes))


def test_a_translators_student_takes_its_place(tmp_path: Path, recorded: Path) -> None:
    pairs = pair(PairSettings(recorded, exact=True, source_env=ENV, output=tmp_path / "pairs"))
    teacher = train(TrainSettings((pairs,), "flow_conditioned", updates=30, output=tmp_path / "teacher"))
    folder = student_of(teacher, pairs, tmp_path / "student")
    student: Any = load(folder)
    assert isinstance(student, FlowActionConditionedTranslator)
    assert student.num_steps == 1
    settings = EvaluateSettings(ENV, policy=ENV, shift=WEAK, translator=folder, episodes=2, output=tmp_path / "result")
    evaluate(settings)
    first = json.loads((tmp_path / "result").read_text())["returns"]
    file = export(ExportSettings(folder, tmp_path / "student.onnx"))
    evaluate(replace(settings, translator=file, output=tmp_path / "exported"))
    np.testing.assert_allclose(json.loads((tmp_path / "exported").read_text())["returns"], first, rtol=1e-3)
    assert json.loads((tmp_path / "student.json").read_text())["inputs"]["teacher"] == digest(teacher)
    straight: Any = load(student_of(teacher, pairs, tmp_path / "straight", method="reflow"))
    assert straight.num_steps == 4  # the teacher's


@pytest.mark.parametrize("model", ["flow_prior_conditioned", "flow_inverse_dynamics"])
def test_flows_learn_their_average_velocity(model: Any, tmp_path: Path, recorded: Path) -> None:
    translator = model != "flow_inverse_dynamics"
    data = (
        pair(PairSettings(recorded, exact=True, source_env=ENV, output=tmp_path / "pairs")) if translator else recorded
    )
    settings = TrainSettings((data,), model, updates=20, average_velocity=True, output=tmp_path / "model")
    trained: Any = load(train(settings))
    assert isinstance(trained.flow, AverageVelocityModel)
    assert trained.num_steps == 1
    with pytest.raises(ValueError, match="average_velocity is for flows"):
        TrainSettings((data,), "mlp", average_velocity=True)


def test_inverse_dynamics_planners_and_policies(tmp_path: Path, recorded: Path) -> None:
    env = make_env(ENV)
    teachers: dict[str, Any] = {
        "inverse": FlowInverseDynamics(1, 9, (16,)),
        "planner": FlowPlanner(9, (16,)),
        "policy": FlowPolicy(env.observation_space, env.action_space, (16,), horizon=2, history=2),
    }
    for name, teacher in teachers.items():
        (save_policy if name == "policy" else save)(teacher, tmp_path / name)
        folder = student_of(tmp_path / name, recorded, tmp_path / f"{name}-student", num_steps=2)
        student: Any = (load_policy if name == "policy" else load)(folder)
        assert type(student) is type(teacher)
        assert student.num_steps == 2


def test_interrupted_it_goes_on(tmp_path: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(FlowPlanner(9, (16,)), tmp_path / "teacher")

    class CutError(Exception):
        pass

    def cut(*arguments: Any, log: Any, **options: Any) -> Any:
        def stop(update: int, figures: Any) -> None:
            if update >= 8:
                raise CutError

        return distill(*arguments, log=stop, **options)

    whole = student_of(tmp_path / "teacher", recorded, tmp_path / "whole")
    monkeypatch.setattr(students_module, "distill", cut)
    with pytest.raises(CutError):
        student_of(tmp_path / "teacher", recorded, tmp_path / "cut")
    monkeypatch.setattr(students_module, "distill", distill)
    rest = student_of(tmp_path / "teacher", recorded, tmp_path / "cut")
    first, second = (dict(load(folder).state_dict()) for folder in (whole, rest))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_what_is_no_teacher_is_refused(tmp_path: Path, recorded: Path) -> None:
    with pytest.raises(CheckpointError):
        student_of(recorded, recorded, tmp_path / "student")
    save(MlpActionTranslator(1, 9), tmp_path / "mlp")
    pairs = pair(PairSettings(recorded, exact=True, source_env=ENV, output=tmp_path / "pairs"))
    with pytest.raises(TypeError, match="got MlpActionTranslator"):
        student_of(tmp_path / "mlp", pairs, tmp_path / "student")
    env = make_env(ENV)
    save_policy(FlowPolicy(env.observation_space, env.action_space, (16,)), tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=r"broken.*model.safetensors"):
        student_of(tmp_path / "broken", recorded, tmp_path / "student")
    for settings in (
        {"num_steps": 4},
        {"method": "reflow"},
        {"num_samples": 5},
        {"teacher": tmp_path, "method": "reflow", "num_steps": 4},
        {"teacher": tmp_path, "env": ENV},
        {"teacher": tmp_path, "hidden_width": 8},
    ):
        with pytest.raises(ValueError, match="would change nothing in"):
            TrainSettings((recorded,), **settings)  # type: ignore[arg-type]  # any of them
    with pytest.raises(ValueError, match="leave teacher away"):
        TrainSettings((recorded,), teacher=tmp_path, average_velocity=True)
    with pytest.raises(ValueError, match="rounds away"):
        TrainSettings((recorded,), teacher=tmp_path, rounds=2)
    with pytest.raises(ValueError, match="must be positive"):
        TrainSettings((recorded,), teacher=tmp_path, num_steps=0)

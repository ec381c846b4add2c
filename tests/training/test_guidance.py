"""Guidance through models: on exactly linear robots, what matching and what a value must come to is known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from generative_policies.action_translation import (
    ActionTranslator,
    FlowActionConditionedTranslator,
    FlowActionPriorConditionedTranslator,
    FlowActionPriorTranslator,
    MlpActionTranslator,
)
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.training import GuidanceSettings, guide, initial_weights

BOUNDS = -torch.ones(2), torch.ones(2)
QUICK = GuidanceSettings(num_updates=500, batch_size=128, learning_rate=5e-3)


def linear_model(observed: Tensor, gears: Sequence[Tensor]) -> MlpForwardDynamics:
    """Return s' - s = s @ observed + a @ gear, one gear a member, exactly: silu(x) - silu(-x) = x."""
    obs_dim, action_dim = len(observed), len(gears[0])
    width = obs_dim + action_dim
    model = MlpForwardDynamics(obs_dim, action_dim, (2 * width,), members=len(gears))
    with torch.no_grad():
        inner: Any = model.network[0]
        outer: Any = model.network[2]
        inner.weight.copy_(torch.cat([torch.eye(width), -torch.eye(width)], dim=1).expand_as(inner.weight))
        maps = torch.stack([torch.cat([observed, gear]) for gear in gears])  # (members, obs + actions, obs)
        outer.weight.copy_(torch.cat([maps, -maps], dim=1))
        inner.bias.zero_()
        outer.bias.zero_()
    return model


def robot(*gears: float) -> MlpForwardDynamics:
    """Return a robot of two joints that lose a tenth of their way at each step, a gear for each member."""
    return linear_model(-0.1 * torch.eye(2), [gear * torch.eye(2) for gear in gears])


def policy(obs: Tensor) -> Tensor:
    return (0.4 * obs).clamp(-1, 1)


def gentle_policy(obs: Tensor) -> Tensor:
    return 0.2 * obs


def standing_still(obs: Tensor) -> Tensor:
    return torch.zeros(len(obs), 2)


def total(obs: Tensor) -> Tensor:
    return obs.sum(dim=1)


def states(rows: int = 512, seed: int = 1) -> Tensor:
    return 4 * torch.rand(rows, 2, generator=torch.Generator().manual_seed(seed)) - 2


def translator(kind: type[Any] = MlpActionTranslator, seed: int = 0) -> ActionTranslator:
    with initial_weights(torch.Generator().manual_seed(seed)):
        model: ActionTranslator = kind(2, 2, (32,) if kind is MlpActionTranslator else (16,))
    return model


def guided(
    target: MlpForwardDynamics,
    source: MlpForwardDynamics,
    settings: GuidanceSettings = QUICK,
    actions: Any = policy,
    value: Any = None,
    reward: Any = None,
) -> Tensor:
    """Return the translated actions of a policy on states that were not trained on."""
    model = translator()
    generator = torch.Generator()
    guide(model, states(), target, source, actions, BOUNDS, settings, value=value, reward=reward, generator=generator)
    obs = states(seed=2)
    return model.predict(obs, actions(obs))


def test_half_the_gear_wants_twice_the_action() -> None:
    wanted = 2 * gentle_policy(states(seed=2))
    found = guided(robot(0.5, 0.5), robot(1.0, 1.0), actions=gentle_policy)
    assert wanted.abs().mean() > 0.3 and (found - wanted).abs().mean() < 0.03


def test_actions_stay_inside_the_bounds() -> None:
    wanted = 2 * policy(states(seed=2))
    found = guided(robot(0.5, 0.5), robot(1.0, 1.0))
    beyond = wanted.abs() > 1.2
    assert 0.2 < beyond.float().mean() < 0.5  # the penalty is soft: it also pulls at what lies nearby
    assert (found - wanted.sign())[beyond].abs().mean() < 0.1 and found.abs().max() < 1.2
    free = guided(robot(0.5, 0.5), robot(1.0, 1.0), replace(QUICK, bound_weight=0.0))
    assert free.abs().max() > 1.2


def test_a_value_leads_beyond_matching_and_a_hinge_does_not() -> None:
    target, source = robot(0.5, 0.5), robot(0.5, 0.5)
    obs = states(seed=2)
    at_home = source.predict(obs, policy(obs))
    worth = {
        name: (target.predict(obs, guided(target, source, settings, value=value)) - at_home).sum(dim=1).mean()
        for name, settings, value in (
            ("matching", QUICK, None),
            ("value", QUICK, total),
            ("hinge", replace(QUICK, hinge=True), total),
        )
    }
    assert worth["matching"].abs() < 0.01
    # As far as the motors go: 0.5 (1 - a) on each joint, and a is 0 in the mean.
    assert worth["value"] == pytest.approx(1.0, abs=0.1)
    assert -0.05 < worth["hinge"] < 0.15 * worth["value"]


def test_rewards_on_the_way_count_beside_the_value_at_the_end() -> None:
    free = replace(QUICK, matching_weight=0.0, correction_weight=0.0, learning_rate=2e-3, num_updates=800)

    def cost(obs: Tensor, actions: Tensor, next_obs: Tensor) -> Tensor:
        assert torch.allclose(next_obs, 0.9 * obs + 0.5 * actions, atol=1e-5)
        return -0.5 * actions.square().sum(dim=1)

    found = guided(robot(0.5, 0.5), robot(0.5, 0.5), free, value=total, reward=cost)
    # The largest of -a^2 / 2 + 0.99 * 0.5 a, on each joint.
    assert found.mean() == pytest.approx(0.495, abs=0.03) and found.std() < 0.1


def test_a_hinge_still_asks_for_what_the_source_reaches() -> None:
    obs, hinge = states(seed=2), replace(QUICK, hinge=True, matching_weight=0.0)
    found = guided(robot(0.5, 0.5), robot(1.0, 1.0), hinge, value=total)
    reachable = policy(obs).sum(dim=1) < 0.8  # by both motors together
    fallen_short = (policy(obs) - 0.5 * found).sum(dim=1)[reachable]
    assert reachable.sum() > 200 and fallen_short.mean() < 0.05 and fallen_short.quantile(0.9) < 0.2


def test_pessimism_keeps_away_from_what_the_members_disagree_about() -> None:
    pessimistic = replace(QUICK, pessimism=2.0)
    actions = {
        name: guided(target, robot(1.0), settings, standing_still, total).mean()
        for name, target, settings in (
            ("hopeful", robot(1.5, 0.5), QUICK),
            ("pessimistic", robot(1.5, 0.5), pessimistic),
            ("agreed", robot(1.0, 1.0), pessimistic),
        )
    }
    # a - 2 |a| / sqrt(2) is largest at 0, where the mean a of the members grows to the bound.
    assert actions["hopeful"] > 0.9 and actions["agreed"] > 0.9
    assert actions["pessimistic"].abs() < 0.1


def test_several_steps_are_matched_better_by_looking_ahead() -> None:
    """With a weak motor and inertia, what brings the target nearest in one step is not what does in three."""

    def cart(gear: float) -> MlpForwardDynamics:
        # x' = x + v + a, v' = v + a
        return linear_model(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), [torch.tensor([[gear, gear]])] * 2)

    def brake(obs: Tensor) -> Tensor:
        return -0.3 * obs[:, :1] - 0.8 * obs[:, 1:]

    weak, source, bounds = cart(0.2), cart(1.0), (-torch.ones(1), torch.ones(1))
    distances = {}
    for horizon in (1, 3):
        with initial_weights(torch.Generator().manual_seed(0)):
            model = MlpActionTranslator(1, 2, (32, 32))
        settings = GuidanceSettings(num_updates=400, batch_size=128, learning_rate=1e-2, horizon=horizon)
        guide(model, states() / 4, weak, source, brake, bounds, settings, generator=torch.Generator())
        x = x_source = states(seed=2) / 4
        apart = []
        for _ in range(3):
            x = weak.predict(x, model.predict(x, brake(x)).clamp(-1, 1))
            x_source = source.predict(x_source, brake(x_source))
            apart.append(torch.nn.functional.smooth_l1_loss(x, x_source))
        distances[horizon] = torch.stack(apart).sum()
    assert distances[3] < 0.8 * distances[1]


@pytest.mark.parametrize(
    "kind", [FlowActionPriorTranslator, FlowActionConditionedTranslator, FlowActionPriorConditionedTranslator]
)
def test_flow_translators_are_trained_through_their_steps(kind: type[Any]) -> None:
    figures: list[Mapping[str, float]] = []
    updates: list[int] = []

    def log(update: int, row: Mapping[str, float]) -> None:
        updates.append(update)
        figures.append(row)

    settings = GuidanceSettings(num_updates=100, batch_size=64, learning_rate=1e-2)
    guide(
        translator(kind),
        states(),
        robot(0.5, 0.5),
        robot(1.0, 1.0),
        gentle_policy,
        BOUNDS,
        settings,
        generator=torch.Generator(),
        log=log,
    )
    assert updates == list(range(10, 101, 10))
    assert figures[-1]["guide/matching"] < 0.5 * figures[0]["guide/matching"] and figures[-1]["guide/value"] == 0


@pytest.mark.parametrize("training", [True, False])
def test_models_stay_as_they_are_and_modes_are_restored(training: bool) -> None:
    target, source, model = robot(0.5, 0.6), robot(1.0, 1.0), translator().train(training)
    next(source.parameters()).requires_grad_(False)  # someone else's wish
    wishes = [[parameter.requires_grad for parameter in part.parameters()] for part in (target, source)]
    before = [{name: value.clone() for name, value in part.state_dict().items()} for part in (target, source)]
    normalizers = {name: value for name, value in model.state_dict().items() if "normalizer" in name}
    few = GuidanceSettings(num_updates=3, batch_size=8)
    guide(model, states(), target, source, policy, BOUNDS, few, value=total, generator=torch.Generator())
    assert model.training is training
    for part, wish, kept in zip((target, source), wishes, before, strict=True):
        assert [parameter.requires_grad for parameter in part.parameters()] == wish
        assert all(torch.equal(value, kept[name]) for name, value in part.state_dict().items())
        assert all(parameter.grad is None for parameter in part.parameters())
    after = model.state_dict()
    assert normalizers and all(torch.equal(after[name], value) for name, value in normalizers.items())


def test_the_generator_decides() -> None:
    flat = []
    for seed in (0, 0, 1):
        model = translator(FlowActionConditionedTranslator)  # with noise
        few, generator = GuidanceSettings(num_updates=5, batch_size=8), torch.Generator().manual_seed(seed)
        target, source = robot(0.5), robot(1.0)
        before = torch.random.get_rng_state()
        guide(model, states(), target, source, policy, BOUNDS, few, value=total, generator=generator)
        assert torch.equal(torch.random.get_rng_state(), before)
        flat.append(torch.nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(flat[0], flat[1]) and not torch.equal(flat[0], flat[2])


def test_what_cannot_be_guided_is_refused() -> None:
    few = GuidanceSettings(num_updates=2, batch_size=8)

    def run(obs: Tensor, bounds: tuple[Tensor, Tensor], settings: GuidanceSettings = few, value: Any = None) -> None:
        target = robot(0.5)
        try:
            guide(
                translator(),
                obs,
                target,
                robot(1.0),
                policy,
                bounds,
                settings,
                value=value,
                generator=torch.Generator(),
            )
        finally:
            assert all(parameter.requires_grad for parameter in target.parameters())

    for obs, bounds in (
        (torch.zeros(2), BOUNDS),
        (torch.zeros(0, 2), BOUNDS),
        (states(), (-torch.ones(3), torch.ones(3))),
        (states(), (-torch.ones(1), torch.ones(2))),
    ):
        with pytest.raises(ValueError, match="obs must have shape"):
            run(obs, bounds)
    with pytest.raises(ValueError, match="the loss became nan by update 1"):
        run(states(), BOUNDS, value=lambda obs: obs.sum(dim=1) * torch.nan)
    for settings, value in ((few, None), (replace(few, hinge=True), total)):
        with pytest.raises(ValueError, match="a reward needs a value"):
            guided(robot(0.5), robot(1.0), settings, value=value, reward=lambda obs, actions, next_obs: obs.sum(dim=1))
    with pytest.raises(ValueError, match="two members"):
        run(states(), BOUNDS, GuidanceSettings(num_updates=2, pessimism=1.0), total)


@pytest.mark.parametrize(
    "setting",
    [
        {"num_updates": 0},
        {"batch_size": 0},
        {"horizon": 0},
        {"learning_rate": -1e-3},
        {"max_grad_norm": float("inf")},
        {"matching_weight": float("nan")},
        {"correction_weight": -1.0},
        {"bound_weight": -1.0},
        {"discount": 0.0},
        {"discount": 1.1},
        {"pessimism": -0.5},
    ],
    ids=str,
)
def test_settings_out_of_range_are_named(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        GuidanceSettings(**setting)

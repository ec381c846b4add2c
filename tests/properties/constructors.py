"""Sound arguments of every public class that a user constructs, and what each of them may not be."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from generative_policies import (
    action_translation,
    data,
    envs,
    export,
    forward_dynamics,
    inverse_dynamics,
    models,
    policies,
    rollouts,
    training,
    wrappers,
)
from generative_policies.envs.obstacle import SERVO_ARM

NAN, INFINITY = float("nan"), float("inf")
# What an argument of a kind may not be. Strings stand for what JSON or a command line gives unconverted.
REFUSED: Mapping[str, tuple[Any, ...]] = {
    "size": (0, -1, 1.5, 2.0, True, "3", None, [2], np.float32(2), NAN, 10**400 * -1),
    "size or none": (0, -1, 1.5, 2.0, True, "3", [2], np.float64(2)),
    "size or zero": (-1, 1.5, 2.0, True, "3", None, [2], np.float32(2)),
    "even": (3, -2, 2.0, True, "32", None, [2]),
    "steps or none": (0, -1, 1.5, True, "3", [2], 10**12),
    "widths": (8, [0], [-1], [8.0], [True], "8", None, [[8]], [8, None], [1] * 1_001),
    "steps": (0, -1, 1.5, True, "3", None, [2], 10**12),
    "not negative": (-1.0, NAN, INFINITY, 10**400, "1", None, [1.0], [1.0, 2.0], {"a": 1}, 1j, True),
    "not negative or none": (-1.0, NAN, INFINITY, "1", [1.0, 2.0], {"a": 1}),
    "positive": (0.0, -1.0, NAN, INFINITY, 10**400, "1", None, [1.0], [1.0, 2.0], {"a": 1}, True),
    "share": (-0.1, 1.0, NAN, "1", None, [0.1, 0.2], {"a": 1}),
    "flag": (0, 1.0, "yes", "", None, [True], {"a": 1}, NAN),
    "word": ("nonsense", "", None, 3, True, ["euler"]),
    "part or none": (3, "x", nn.Linear(1, 1), [1]),
    "arm": (0, 17, "x", None, [2], {"nonsense": 1}),
    "part": (3, None, nn.Linear(1, 1)),
    "module": (3, None, "x", [nn.Linear(1, 1)]),
    # Arrays of each kind that numpy refuses, or takes for something else.
    "rows": (None, 3, "x", {"a": 1}, ["x"], [[1.0], [1.0, 2.0]], [[NAN]], object()),
    "rows or none": (3, "x", {"a": 1}, ["x"], [[1.0], [1.0, 2.0]], [[NAN]], object()),
    "counts": (None, 3, "x", {"a": 1}, ["x"], [[1], [1, 2]], [1.5], [NAN], [10**30], object()),
    "entries": (None, 3, "x", {"a": 1}, ["x"], [NAN], [[1.0], [1.0, 2.0]], [10**400], object()),
    "three or none": (3, "3", {"a": 1}, ["x"], [1.0], [[1.0], [1.0, 2.0]], [NAN] * 3, [-1.0] * 3, [10**400] * 3, 1j),
    "mapping": (None, 3, "x", [1], {}, {"a": "x"}, {"a": [[1.0], [1.0, 2.0]]}, {"a": {"b": 1}}, {"a": [[NAN]]}),
    "mapping or none": (3, "x", [1], {"a": "x"}, {"a": [[1.0], [1.0, 2.0]]}, {"a": {"b": 1}}, {"a": [[NAN]]}),
    "names or none": (3, "x", [3], {"a": 1}, [["x"]], ["nonsense", None]),
    "signs or none": (3, "x", [2], [[1]], {"a": 1}, [1, 1], [1.0], [True], [None]),
    "range or none": (3, "x", [1], [0, 9], [2, 1], [[0], [1]], {"a": 1, "b": 2}, [None, 2], [0.0, 2.0]),
    "episodes or none": (3, [], [3], [[[1.0], [1.0]]], {"a": 1}, [({"a": "x"}, None)]),
    "rate or none": (-1.0, NAN, "x", [1.0], {"a": 1}),
    "selection": (None, True, 1.5, "nonsense", [1.5], [[0], [1, 2]], {"a": 1}, []),
    "selection or none": (True, 1.5, "nonsense", "", 10**30, [1.5], [9], [[0], [1, 2]], {"a": 1}, []),
    "selection, attribute or none": (True, 1.5, "nonsense", "", 10**30, [1.5], [9], [[0], [1, 2]], {"a": 1}, []),
    "space": (None, 3, "x", [1], {"a": 1}),
    "space or none": (3, "x", [1], {"a": 1}),
    "box or none": (
        *(3, "x", [1], {"a": 1}, {"low": [0]}, {"low": [0], "high": [1], "other": 3}),
        *({"low": low, "high": [1.0]} for low in ("x", ["x"], None, {"a": 1}, [[0], [0, 1]], [NAN], [2.0], [0.0] * 2)),
        *({"low": [-1.0], "high": high} for high in ([10**400], [1e300], [INFINITY])),
        *({"low": [0], "high": [1], "dtype": dtype} for dtype in (3, "x", "O", "U1000000000", [1])),
    ),
}
# Arguments of which no table says what they may not be, and why.
GYMNASIUMS = "Gymnasium's own argument, which the env hands on"
SB3S = "Stable-Baselines3's own argument, which the class hands on"
WRAPPED = "what is no env lacks what a wrapper reads first, and Python names that"
UNLISTED: Mapping[tuple[str, str], str] = {
    **{
        (f"envs.{where}", name): GYMNASIUMS
        for where in ("arm_envs.ArmReachEnv", "arm_envs.ArmPushEnv", "obstacle.ArmObstacleEnv")
        for name in ("render_mode", "width", "height", "camera_name")
    },
    **{
        ("policies.behavior_cloning.BehaviorCloning", name): SB3S
        for name in ("env", "policy_kwargs", "tensorboard_log", "verbose", "seed", "device", "_init_setup_model")
    },
    **{
        (f"envs.{where}", "env"): WRAPPED
        for where in (
            "dynamics_shift.DynamicsShiftWrapper",
            "rewired_motors.RewiredMotorsWrapper",
            "success.SuccessWrapper",
        )
    },
    **{
        (f"wrappers.{where}.{cls}", env): WRAPPED
        for module, cls in (
            ("action_translation", "ActionTranslationWrapper"),
            ("inverse_dynamics", "InverseDynamicsWrapper"),
            ("latent_action", "LatentActionWrapper"),
            ("residual_action", "ResidualActionWrapper"),
        )
        for where, env in ((module, "env"), (f"vector.{module}", "env"), (f"vec_env.{module}", "venv"))
    },
}


class Case(NamedTuple):
    """How a class is constructed.

    Attributes:
        cls: The class.
        arguments: Makes sound arguments, by name.
        kinds: A key of ``REFUSED`` by the name of an argument.
    """

    cls: Any
    arguments: Callable[[], dict[str, Any]]
    kinds: Mapping[str, str]


def of(cls: Any, arguments: Callable[[], dict[str, Any]], **kinds: str) -> Case:
    return Case(cls, arguments, kinds)


def pendulum() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("Pendulum-v1")


@cache
def spaces() -> dict[str, Any]:
    env = pendulum()
    return {"observation_space": env.observation_space, "action_space": env.action_space}


def flow_policy(**arguments: Any) -> policies.FlowPolicy:
    return policies.FlowPolicy(**spaces(), net_arch=(8,), num_steps=1, **arguments)


def episodes(**arrays: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"episodes": np.repeat([0, 1], 3)} | {name: rng.normal(size=(6, width)) for name, width in arrays.items()}


FLOW = {"diffusion_step_embed_dim": "even", "down_dims": "widths", "horizon": "size", "target_dim": "size"}
FLOW |= {"cond_dim": "size or zero", "network": "part or none", "prior": "part or none", "encoder": "part or none"}
TRANSLATOR = {"action_dim": "size", "obs_dim": "size", "net_arch": "widths", "source_action_dim": "size or none"}
INVERSE = {"action_dim": "size", "obs_dim": "size", "net_arch": "widths", "next_obs_dim": "size or none"}
POLICY = {"net_arch": "widths", "horizon": "size", "replan_interval": "size or none", "history": "size"}
SPACES = {"observation_space": "space", "action_space": "space"}
POLICY |= {"image_features": "size", "block": "size", "squash_output": "flag", **SPACES}
FIT = {"num_updates": "size", "batch_size": "size", "learning_rate": "not negative", "weight_decay": "not negative"}
FIT |= {
    "warmup_fraction": "share",
    "max_grad_norm": "not negative",
    "ema_decay": "share",
    "validation_fraction": "share",
    "num_validations": "size",
}

MODELS = (
    of(
        models.ConditionalFlowModel,
        lambda: {"target_dim": 2, "cond_dim": 3, "down_dims": (8,)},
        **FLOW,
        coupling="word",
        condition_weight="not negative",
    ),
    of(models.LatentBridgeModel, lambda: {"target_dim": 2, "down_dims": (8,)}, **FLOW, bridge_sigma="positive"),
    of(
        models.DistilledFlowModel,
        lambda: {"target_dim": 2, "cond_dim": 3, "num_steps": 2},
        **{name: kind for name, kind in FLOW.items() if name not in ("diffusion_step_embed_dim", "down_dims")},
        num_steps="steps",
    ),
    of(models.AverageVelocityModel, lambda: {"target_dim": 2, "down_dims": (8,)}, **FLOW),
    of(
        models.ConditionalUNet1D,
        lambda: {"in_channels": 2, "out_channels": 2, "down_dims": (8,)},
        in_channels="size",
        out_channels="size",
        cond_dim="size or zero",
        diffusion_step_embed_dim="even",
        down_dims="widths",
        horizon="size",
    ),
    of(
        models.ResidualMlp,
        lambda: {"target_dim": 2},
        target_dim="size",
        cond_dim="size or zero",
        net_arch="widths",
        diffusion_step_embed_dim="even",
        horizon="size",
    ),
    of(
        models.DiffusionTransformer,
        lambda: {"target_dim": 2, "embed_dim": 8, "num_heads": 2},
        target_dim="size",
        cond_dim="size or zero",
        embed_dim="size",
        num_layers="size",
        num_heads="size",
        horizon="size",
    ),
    of(
        models.MlpRegressor,
        lambda: {"target_dim": 2, "cond_dim": 3},
        target_dim="size",
        cond_dim="size",
        net_arch="widths",
        horizon="size",
        encoder="part or none",
    ),
    of(
        models.Mlp,
        lambda: {"input_dim": 2, "output_dim": 3, "net_arch": (4,)},
        input_dim="size",
        output_dim="size",
        net_arch="widths",
        zero_output="flag",
    ),
    of(
        models.DictObservationEncoder,
        lambda: {"shapes": {"a": (3,), "b": (8, 8, 3)}, "image_dtype": "uint8"},
        image_features="size",
        history="size",
        shapes="part",
        image_dtype="word",
    ),
    of(models.GaussianPrior, lambda: {"dim": 2}, dim="size"),
    of(models.SourcePrior, lambda: {"dim": 2}, dim="size", noise_scale="not negative"),
    of(
        models.LiftedSourcePrior,
        lambda: {"dim": 2, "source_dim": 3},
        dim="size",
        source_dim="size",
        noise_scale="not negative",
    ),
    of(models.Normalizer, lambda: {"dim": 2}, dim="size"),
    of(models.IdentityEncoder, lambda: {"dim": 2}, dim="size"),
    of(models.IdentityTwoInputEncoder, lambda: {"dim_1": 2, "dim_2": 3}, dim_1="size", dim_2="size"),
    of(
        models.ObservationAndVectorEncoder,
        lambda: {"observation_encoder": models.IdentityEncoder(2), "dim": 3},
        observation_encoder="part",
        dim="size",
    ),
    of(inverse_dynamics.MlpInverseDynamics, lambda: {"action_dim": 2, "obs_dim": 3}, **INVERSE, encoder="part or none"),
    of(
        inverse_dynamics.FlowInverseDynamics,
        lambda: {"action_dim": 2, "obs_dim": 3},
        **INVERSE,
        num_steps="steps or none",
        encoder="part or none",
        flow="part or none",
    ),
    of(
        forward_dynamics.MlpForwardDynamics,
        lambda: {"action_dim": 2, "obs_dim": 3},
        action_dim="size",
        obs_dim="size",
        net_arch="widths",
        members="size",
    ),
    of(
        action_translation.MlpActionTranslator,
        lambda: {"action_dim": 2, "obs_dim": 3},
        **TRANSLATOR,
        encoder="part or none",
    ),
    *(
        of(
            cls,
            lambda: {"action_dim": 2, "obs_dim": 3},
            **TRANSLATOR,
            num_steps="steps or none",
            prior_noise="not negative or none",
            encoder="part or none",
            flow="part or none",
        )
        for cls in (
            action_translation.FlowActionPriorTranslator,
            action_translation.FlowActionConditionedTranslator,
            action_translation.FlowActionPriorConditionedTranslator,
        )
    ),
    of(
        action_translation.ComposedActionTranslator,
        lambda: {
            "inverse_dynamics": inverse_dynamics.MlpInverseDynamics(2, 3),
            "forward_dynamics": forward_dynamics.MlpForwardDynamics(3, 2),
        },
        inverse_dynamics="part",
        forward_dynamics="part",
    ),
    of(
        policies.FlowPlanner,
        lambda: {"obs_dim": 3},
        obs_dim="size",
        net_arch="widths",
        next_obs_dim="size or none",
        horizon="size",
        num_steps="steps or none",
        flow="part or none",
    ),
)
POLICIES = (
    of(
        policies.FlowPolicy,
        lambda: {**spaces(), "net_arch": (8,)},
        **POLICY,
        num_steps="steps or none",
        solver="word",
        network="part or none",
        flow="part or none",
    ),
    of(policies.MlpPolicy, lambda: {**spaces(), "net_arch": (8,)}, **POLICY),
    of(
        policies.InverseDynamicsPolicy,
        lambda: {
            **spaces(),
            "planner": policies.FlowPlanner(3, (8,)),
            "inverse_dynamics": inverse_dynamics.MlpInverseDynamics(1, 3),
        },
        **SPACES,
        planner="part",
        inverse_dynamics="part",
        replan_interval="size or none",
        history="size",
        block="size",
    ),
    of(
        policies.TranslatedPolicy,
        lambda: {
            **spaces(),
            "source_policy": flow_policy(),
            "translator": action_translation.MlpActionTranslator(1, 3),
        },
        **SPACES,
        source_policy="part",
        translator="part",
        source_observation="selection or none",
        block="size",
    ),
    of(policies.CosineSchedule, dict, peak="not negative", warmup="share"),
    of(policies.ObservationMap, lambda: {"source": 2}, source="selection"),
    of(
        policies.BehaviorCloning,
        lambda: {"policy": "FlowPolicy", "env": pendulum(), "policy_kwargs": {"net_arch": (8,)}},
        policy="word",
        demonstrations="episodes or none",
        learning_rate="rate or none",
        batch_size="size",
        weight_decay="not negative",
        max_grad_norm="not negative",
        ema_decay="share",
        validation_fraction="share",
    ),
)
TRAINING = (
    of(training.FitSettings, dict, **FIT),
    of(training.DistillationSettings, dict, **FIT, num_samples="size", teacher_num_steps="size or none"),
    of(
        training.GuidanceSettings,
        dict,
        num_updates="size",
        batch_size="size",
        learning_rate="not negative",
        max_grad_norm="not negative",
        discount="positive",
        horizon="size",
        matching_weight="not negative",
        correction_weight="not negative",
        bound_weight="not negative",
        pessimism="not negative",
        hinge="flag",
    ),
    of(
        training.ExponentialMovingAverage,
        lambda: {"model": nn.Linear(1, 1), "decay": 0.9},
        model="module",
        decay="share",
        in_place="flag",
    ),
)
DATA = (
    of(
        data.TransitionDataset,
        lambda: episodes(obs=3, next_obs=3, actions=2),
        **dict.fromkeys(("obs", "next_obs", "actions"), "rows"),
        episodes="counts",
    ),
    of(
        data.ActionPairDataset,
        lambda: episodes(obs=3, source_actions=2, target_actions=1),
        **dict.fromkeys(("obs", "source_actions", "target_actions"), "rows"),
        episodes="counts",
    ),
    of(
        data.NextStateDataset,
        lambda: episodes(obs=3, next_obs=2),
        **dict.fromkeys(("obs", "next_obs"), "rows"),
        episodes="counts",
    ),
    of(
        data.Demonstrations,
        lambda: {"lengths": np.array([3, 3]), "observations": {"observation": np.zeros((6, 2))}},
        lengths="counts",
        observations="mapping",
        actions="rows or none",
        last_observations="mapping or none",
        observation_space="space or none",
        action_space="space or none",
        are_normalized="flag",
    ),
)
ENVS = (
    of(
        envs.DynamicsShift,
        dict,
        **dict.fromkeys(("mass", "friction", "gear", "damping", "armature", "gravity", "joint_range"), "positive"),
        bodies="names or none",
    ),
    of(envs.DynamicsShiftWrapper, lambda: {"env": gymnasium.make("InvertedPendulum-v5"), "shift": {}}, shift="part"),
    of(
        envs.RewiredMotorsWrapper,
        lambda: {"env": pendulum(), "motors": (0,)},
        motors="part",
        signs="signs or none",
    ),
    of(
        envs.SuccessWrapper,
        lambda: {"env": pendulum(), "achieved": (0, 2), "goal": None},
        achieved="part",
        goal="range or none",
        threshold="positive",
    ),
    *(of(cls, lambda: {"arm": 2}, arm="arm", proprioception="flag") for cls in (envs.ArmReachEnv, envs.ArmPushEnv)),
    of(envs.ArmObstacleEnv, dict, arm="arm", proprioception="flag"),
    of(
        envs.ArmSpec,
        lambda: vars(envs.ARMS[2]).copy(),
        **dict.fromkeys(
            ("link_lengths", "link_masses", "gear", "damping", "joint_low", "joint_high", "home"), "entries"
        ),
        actuator="word",
    ),
    of(
        envs.DetourController,
        lambda: {"arm": envs.ArmSpec(**SERVO_ARM), "side": "left"},
        arm="part",
        side="word",
        lookahead="positive",
    ),
    of(envs.ExactDynamics, lambda: {"env": gymnasium.make("InvertedPendulum-v5")}, env="part"),
    of(
        envs.ExactInverseDynamics,
        lambda: {"env": gymnasium.make("InvertedPendulum-v5")},
        env="part",
        num_starts="size",
        tolerance="not negative",
    ),
)


def around(make: Callable[[], Any], cls: Any, arguments: Callable[[], dict[str, Any]], **kinds: str) -> Case:
    name = "venv" if "vec_env" in cls.__module__ else "env"
    return of(cls, lambda: {name: make(), **arguments()}, block="size", **kinds)


WRAPPERS = tuple(
    case
    for module, make in (
        (wrappers, pendulum),
        (wrappers.vector, lambda: SyncVectorEnv([pendulum] * 2)),
        (wrappers.vec_env, lambda: DummyVecEnv([pendulum] * 2)),
    )
    for case in (
        around(
            make,
            module.ActionTranslationWrapper,
            lambda: {"translator": action_translation.MlpActionTranslator(1, 3)},
            translator="part",
            source_action_space="box or none",
            source_observation="selection, attribute or none",
        ),
        around(
            make,
            module.InverseDynamicsWrapper,
            lambda: {"inverse_dynamics": fitted_inverse_dynamics()},
            inverse_dynamics="part",
            absolute="flag",
            limit="positive",
            spread="three or none",
        ),
        around(make, module.LatentActionWrapper, lambda: {"policy": flow_policy()}, policy="part", limit="positive"),
        around(
            make,
            module.ResidualActionWrapper,
            lambda: {"policy": flow_policy(), "scale": 0.2},
            policy="part",
            scale="positive",
        ),
    )
)


def fitted_inverse_dynamics() -> inverse_dynamics.MlpInverseDynamics:
    model = inverse_dynamics.MlpInverseDynamics(1, 3)
    assert model.change_normalizer is not None
    model.change_normalizer.std.fill_(0.1)
    return model


CASES = {f"{case.cls.__module__}.{case.cls.__name__}": case for case in (*MODELS, *POLICIES, *TRAINING)}
CASES |= {f"{case.cls.__module__}.{case.cls.__name__}": case for case in (*DATA, *ENVS, *WRAPPERS)}

# Not constructed by users: what others inherit from, what functions return, errors, and protocols.
NOT_CONSTRUCTED = frozenset(
    {
        *(action_translation.ActionTranslator, action_translation.FlowActionTranslator),
        *(data.DatasetError, data.EpisodicDataset, data.Windows),
        *(envs.Correspondence, envs.IdentifiedShift, envs.InverseSolution, envs.PlanarArmEnv),
        *(export.ExportError, export.OnnxModel, inverse_dynamics.InverseDynamics),
        *(models.Encoder, models.FlowInputs, models.GenerativeModel, models.PathLength, models.Prior),
        *(models.RealVersusReal, models.VelocityNetwork),
        *(policies.ChunkPolicy, policies.ClonedPolicy, policies.EpisodicPolicy),
        *(rollouts.ArmResult, rollouts.Episode, rollouts.EpisodeContext, rollouts.Matched, rollouts.PhysicsEpisodes),
        *(rollouts.Steps, training.FitResult, training.Trainable),
    }
)
PACKAGES = (action_translation, data, envs, export, forward_dynamics, inverse_dynamics, models, policies, rollouts)
PACKAGES += (training, wrappers, wrappers.vector, wrappers.vec_env)

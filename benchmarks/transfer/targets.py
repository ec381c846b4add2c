"""What is transferred to what, with which arms, seeds and sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from generative_policies.rollouts.arms import ArmTask
from generative_policies.rollouts.arms.guided import WAYS
from generative_policies.rollouts.robots import Robot

# Training seeds 0 to 3 and reset seeds below 20,000 have been looked at while methods were chosen.
ONCE, TWICE, FIVE = (0,), (4, 5), (4, 5, 6, 7, 8)
FIRST_SEED = 20_000
REFERENCES_BUT_EXACT = ("random", "source", "untranslated")
Sizes = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        arm: Name of the arm.
        seeds: Training seeds.
        sizes: What differs from the target's sizes.
        label: How the row is named, the arm by default.
    """

    arm: str
    seeds: tuple[int, ...] = TWICE
    sizes: Sizes = field(default_factory=dict)
    label: str | None = None

    @property
    def name(self) -> str:
        """The row's name, fit for a file's."""
        return self.label or self.arm

    @property
    def claimed(self) -> bool:
        """Whether a claim is about it, so that it is run first."""
        return self.seeds == FIVE or self.arm in REFERENCES_BUT_EXACT


@dataclass(frozen=True)
class Target:
    """A target robot, with the rows that are measured on it.

    Attributes:
        title: For the table.
        source: The source robot.
        target: The target robot.
        policy: Name of the source's shipped expert.
        sizes: Of all rows, fields of ``ArmTask``.
        rows: In the order of the table.
        no_shift: Name of the target that holds the no-shift controls of its value-guided rows.
    """

    title: str
    source: Robot
    target: Robot
    policy: str
    sizes: Sizes
    rows: tuple[Row, ...]
    no_shift: str | None = None

    def task(self, row: Row, seed: int, episodes: int) -> ArmTask:
        """Return the task of a row and a training seed."""
        return ArmTask(
            arm=row.arm,
            seed=seed,
            source=self.source,
            target=self.target,
            policy=self.policy,
            vecnormalize=None,
            episodes=episodes,
            first_seed=FIRST_SEED,
            **{**self.sizes, **row.sizes},
        )


REFERENCES = tuple(Row(arm, ONCE) for arm in ("random", "source", "untranslated", "exact"))
LEARNED = {"source_episodes": 400, "inverse_dynamics_updates": 20_000, "updates": 8_000, "hidden_width": 256}
PUSHER = {**LEARNED, "rounds": 3, "episodes_per_round": 25, "noise": (0.075, 0.2)}
LOCOMOTION = {
    **LEARNED,
    "source_episodes": 100,
    "inverse_dynamics_updates": 10_000,
    "rounds": 5,
    "episodes_per_round": 10,
    "noise": (0.05, 0.4),
}
# A handful of episodes, each collected with what the ones before have taught.
FOUR = {"rounds": 4, "episodes_per_round": 1, "noise": (0.15, 0.3)}
FLOWS = ("flow_prior", "flow_conditioned", "flow_prior_conditioned")


def episodes(count: int) -> Sizes:
    """Return four rounds, or fewer where there are fewer target episodes, or so many that two are enough."""
    rounds = {1: 1, 2: 2, 50: 2}.get(count, 4)
    return {**FOUR, "rounds": rounds, "episodes_per_round": count // rounds}


def matching_rows(main: tuple[int, ...], several: tuple[int, ...] = TWICE) -> tuple[Row, ...]:
    """Return the arms that match steps: the MLP on as many seeds as it is claimed for, the others on two."""
    return (
        Row("linear", several, FOUR, "linear-4"),
        Row("mlp", main),
        *(Row(flow, several) for flow in FLOWS),
        Row("composed", several),
        Row("composed_simulator", several),
        Row("multi_step", several),
        Row("behavior_cloning", several),
    )


PUSHER_CURVE = tuple(
    Row(arm, FIVE if (arm, count) == ("linear", 4) else TWICE, episodes(count), f"{arm}-{count}")
    for arm in ("linear", "mlp", "flow_prior_conditioned")
    for count in (1, 2, 4, 8, 16, 50)
)
PUSHER_P1 = (
    *REFERENCES,
    *PUSHER_CURVE,
    *(Row(flow) for flow in FLOWS[:2]),
    Row("composed"),
    Row("composed_simulator"),
    Row("multi_step"),
    Row("identified", FIVE, FOUR, "identified-4"),
    Row("value_guided"),
    Row("value_guided_no_shift"),
    Row("behavior_cloning"),
    Row("residual_sac"),
    Row("sac_from_scratch"),
)
PUSHER_P2 = (
    *REFERENCES,
    *matching_rows(FIVE),
    Row("identified", TWICE, FOUR, "identified-4"),
    Row("identified_ppo", FIVE, FOUR, "identified_ppo-4"),
    Row("value_guided"),
    Row("value_guided_no_shift"),
    Row("residual_sac"),
    Row("sac_from_scratch"),
)
CURVE = {"curve_steps": 5_000}
WEAKER = (
    *REFERENCES,
    Row("value_expansion", FIVE),
    Row("residual_sac", FIVE, CURVE),
    Row("value_guided"),
    *matching_rows(TWICE),
    Row("value_guided_hinge"),
    Row("value_guided_pessimistic"),
    Row("identified", TWICE, FOUR, "identified-4"),
    Row("sac_from_scratch", TWICE, CURVE),
)
UNTRANSLATED_RESIDUAL = Row("residual_sac_untranslated", FIVE, CURVE)
FLOW_GUIDED = tuple(Row(f"value_guided_{flow}") for flow in FLOWS)
# The budget of half as many steps was chosen when these were seen; they stay in the table.
LONGER = {"rounds": 10}
AT_100_000 = (
    Row("value_guided", TWICE, LONGER, "value_guided-100k"),
    Row("value_expansion", TWICE, LONGER, "value_expansion-100k"),
    Row("residual_sac", TWICE, {**LONGER, **CURVE}, "residual_sac-100k"),
)
NO_SHIFT = (
    Row("source", ONCE),
    Row("value_expansion_no_shift", FIVE),
    *(Row(f"{way}_no_shift") for way in WAYS if way != "value_expansion"),
)
SPARE = (*REFERENCES, Row("mlp", FIVE), Row("linear", TWICE, FOUR, "linear-4"), Row("flow_prior_conditioned"))

HALF_CHEETAH = Robot("HalfCheetah-v5")


def half_cheetah(shift: str, title: str, rows: tuple[Row, ...]) -> Target:
    """Return a shifted HalfCheetah."""
    target = Robot("HalfCheetah-v5", shift)
    return Target(
        f"HalfCheetah, {title}", HALF_CHEETAH, target, "HalfCheetah-v5", LOCOMOTION, rows, "half_cheetah-none"
    )


def fewer_motors(motors: tuple[int, ...], title: str) -> Target:
    """Return a pusher without some of its motors."""
    return Target(
        f"Pusher, {title}",
        Robot("Pusher-v5"),
        Robot("Pusher-v5", motors=motors),
        "Pusher-v5",
        {**PUSHER, "rounds": 4},
        (
            Row("random", ONCE),
            Row("source", ONCE),
            Row("exact", ONCE),
            Row("mlp"),
            Row("linear"),
            Row("flow_prior_conditioned"),
        ),
    )


def arm(source_links: int, target_links: int, task: str) -> Target:
    """Return an arm with another number of links, whose policy sees the task alone."""
    names = [f"generative_policies/Arm{task}{links}-v0" for links in (source_links, target_links)]
    task_dim = {"Reach": 8, "Push": 14}[task]
    random = {"noise": (0.1, 0.3), "rounds": 4, "episodes_per_round": 25, "source_observation": task_dim}
    return Target(
        f"{task}, arm of {source_links} to {target_links} links",
        Robot(names[0], env_arguments=(("proprioception", False),)),
        Robot(names[1]),
        f"Arm{task}{source_links}-v0",
        {**LEARNED, **random},
        (Row("random", ONCE), Row("source", ONCE), Row("mlp", FIVE), Row("flow_prior_conditioned")),
    )


TARGETS: Mapping[str, Target] = {
    "pusher-P1": Target(
        "Pusher, P1: mass 2, friction 1.5, gear 0.9, damping 1.5",
        Robot("Pusher-v5"),
        Robot("Pusher-v5", "P1"),
        "Pusher-v5",
        PUSHER,
        PUSHER_P1,
    ),
    "pusher-P2": Target(
        "Pusher, P2: mass 2, friction 1.5, gear 0.7, damping 2",
        Robot("Pusher-v5"),
        Robot("Pusher-v5", "P2"),
        "Pusher-v5",
        {**PUSHER, "rounds": 4},
        PUSHER_P2,
    ),
    "pusher-published": Target(
        "Pusher, as published: mass 1.5, friction 1.5, gear 0.9, damping 1.1",
        Robot("Pusher-v5"),
        Robot("Pusher-v5", "published"),
        "Pusher-v5",
        PUSHER,
        (*REFERENCES, *matching_rows(TWICE), Row("identified", TWICE, FOUR, "identified-4")),
    ),
    "half_cheetah-none": Target(
        "HalfCheetah, no shift", HALF_CHEETAH, HALF_CHEETAH, "HalfCheetah-v5", LOCOMOTION, NO_SHIFT
    ),
    "half_cheetah-A": half_cheetah("A", "A: mass 1.3, gear 0.9, damping 1.5, friction 0.6", WEAKER),
    "half_cheetah-D": half_cheetah("D", "D: damping 2", WEAKER),
    "half_cheetah-G": half_cheetah("G", "G: gear 0.7", (*WEAKER, UNTRANSLATED_RESIDUAL, *FLOW_GUIDED, *AT_100_000)),
    "half_cheetah-E": half_cheetah("E", "E: mass 1.2, gear 0.8, damping 1.5, friction 0.7", WEAKER),
    "half_cheetah-B": half_cheetah(
        "B",
        "B: mass 1.5, gear 0.7, damping 1.5, friction 0.6",
        (*REFERENCES, Row("mlp"), Row("value_guided"), Row("value_expansion"), Row("residual_sac", TWICE, CURVE)),
    ),
    "half_cheetah-strong": half_cheetah("strong", "gear 1.4", SPARE),
    "half_cheetah-rewired": Target(
        "HalfCheetah, motors permuted and mirrored",
        HALF_CHEETAH,
        Robot("HalfCheetah-v5", motors=(3, 4, 5, 0, 1, 2), motor_signs=(1, -1, 1, -1, 1, -1)),
        "HalfCheetah-v5",
        LOCOMOTION,
        SPARE,
    ),
    "pusher-six": fewer_motors((0, 1, 2, 3, 4, 5), "the last of seven motors missing"),
    "pusher-five": fewer_motors((0, 1, 2, 3, 4), "the last two of seven motors missing"),
    "reach-2-3": arm(2, 3, "Reach"),
    "reach-3-2": arm(3, 2, "Reach"),
    "push-2-3": arm(2, 3, "Push"),
    "push-3-2": arm(3, 2, "Push"),
    "hopper-weak": Target(
        "Hopper, gear 0.85",
        Robot("Hopper-v5"),
        Robot("Hopper-v5", "weak"),
        "Hopper-v5",
        LOCOMOTION,
        (*REFERENCES, Row("mlp"), Row("linear", TWICE, FOUR, "linear-4"), Row("flow_prior_conditioned")),
    ),
    "double_pendulum-strong": Target(
        "InvertedDoublePendulum, gear 2",
        Robot("InvertedDoublePendulum-v5"),
        Robot("InvertedDoublePendulum-v5", "strong"),
        "InvertedDoublePendulum-v5",
        LOCOMOTION,
        (*REFERENCES, Row("mlp"), Row("linear", TWICE, FOUR, "linear-4"), Row("flow_prior_conditioned")),
    ),
}

# The short form: what the claims need with one seed.
ENDS = ("source", "untranslated")
SHORT: Mapping[str, tuple[str, ...]] = {
    "pusher-P1": (*ENDS, "linear-4"),
    "pusher-P2": (*ENDS, "identified_ppo-4"),
    "half_cheetah-none": ("source", "value_expansion_no_shift"),
    "half_cheetah-A": (*ENDS, "value_expansion"),
    "half_cheetah-D": (*ENDS, "value_expansion"),
    "half_cheetah-G": (*ENDS, "value_expansion", "residual_sac", "residual_sac_untranslated"),
    "half_cheetah-E": (*ENDS, "value_expansion"),
    "half_cheetah-strong": (*ENDS, "mlp"),
    "reach-2-3": ("random", "source", "mlp"),
}

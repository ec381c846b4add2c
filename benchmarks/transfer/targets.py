"""What is transferred to what."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.transfer.rows import (
    CURVE,
    FIVE,
    FOUR,
    LEARNED,
    LOCOMOTION,
    NO_SHIFT,
    ONCE,
    PUSHER,
    PUSHER_P1,
    PUSHER_P2,
    REFERENCES,
    SPARE,
    TWICE,
    WEAKER,
    WEAKER_G,
    Row,
    Sizes,
    matching_rows,
)
from generative_policies.rollouts.arms import ArmTask
from generative_policies.rollouts.robots import Robot

FIRST_SEED = 20_000  # those below have been looked at while methods were chosen


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
    "half_cheetah-G": half_cheetah("G", "G: gear 0.7", WEAKER_G),
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

# The short form: one training seed of most claims, as many as half an hour holds.
ENDS = ("source", "untranslated")
SHORT: Mapping[str, tuple[str, ...]] = {
    "pusher-P1": (*ENDS, "linear-4"),
    "pusher-P2": (*ENDS, "identified_ppo-4"),
    "half_cheetah-none": ("source", "value_expansion_no_shift"),
    "half_cheetah-A": (*ENDS, "value_expansion"),
    "half_cheetah-G": (*ENDS, "value_expansion", "residual_sac", "residual_sac_untranslated"),
    "half_cheetah-E": (*ENDS, "value_expansion"),
    "half_cheetah-strong": (*ENDS, "mlp"),
    "reach-2-3": ("random", "source", "mlp"),
}

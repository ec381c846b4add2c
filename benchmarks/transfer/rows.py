"""The rows of the tables: which arms, with which seeds and sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from generative_policies.rollouts.arms.guided import WAYS

# Training seeds 0 to 3 have been looked at while methods were chosen.
ONCE, TWICE, FIVE = (0,), (4, 5), (4, 5, 6, 7, 8)
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
NO_SHIFT_100_000 = tuple(
    Row(f"{way}_no_shift", TWICE, LONGER, f"{way}-100k_no_shift") for way in ("value_guided", "value_expansion")
)
NO_SHIFT = (
    Row("source", ONCE),
    Row("value_expansion_no_shift", FIVE),
    *(Row(f"{way}_no_shift") for way in WAYS if way != "value_expansion"),
    *NO_SHIFT_100_000,
)
WEAKER_G = (*WEAKER, UNTRANSLATED_RESIDUAL, *FLOW_GUIDED, *AT_100_000)
SPARE = (*REFERENCES, Row("mlp", FIVE), Row("linear", TWICE, FOUR, "linear-4"), Row("flow_prior_conditioned"))

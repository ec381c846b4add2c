"""Pairs of source and target actions that do the same."""

from generative_policies.data import ActionPairDataset, TransitionDataset
from generative_policies.inverse_dynamics import MlpInverseDynamics


def relabel(target_data: TransitionDataset, source_inverse_dynamics: MlpInverseDynamics) -> ActionPairDataset:
    """Ask of each target transition which source action makes the same step at home.

    Needs a common observation space and no target simulator.

    Args:
        target_data: Transitions of the target robot.
        source_inverse_dynamics: Inverse dynamics of the source robot.

    Returns:
        One pair a transition. A source action may lie outside the source's bounds where the target did what the
        source cannot.

    Raises:
        ValueError: If the observations have another width than the inverse dynamics.
    """
    return ActionPairDataset(
        episodes=target_data.episodes,
        obs=target_data.obs,
        source_actions=source_inverse_dynamics.predict(target_data.obs, target_data.next_obs),
        target_actions=target_data.actions,
    )

"""The source experts that come with the library."""

import os
from pathlib import Path

from stable_baselines3.common.policies import BasePolicy

from generative_policies.checkpoints import CheckpointError
from generative_policies.policies import load_policy

SHIPPED_FOLDER = Path(__file__).parent / "expert_weights"


def shipped_experts() -> list[str]:
    """Return the names of the experts that come with the library."""
    return sorted(folder.name for folder in SHIPPED_FOLDER.iterdir() if (folder / "config.json").is_file())


def load_expert(name: str | os.PathLike[str]) -> BasePolicy:
    """Load a shipped expert by its name, or any policy in the same format by its path.

    Args:
        name: Such as ``"Pusher-v5"``, or a folder that ``policies.save_policy`` wrote.

    Returns:
        The policy with its value function or critics, see ``policies.load_policy``.

    Raises:
        CheckpointError: If there is none of the name, or its files are truncated or foreign.

    Example:
        >>> expert = load_expert("Pusher-v5")
        >>> expert.action_space.shape
        (7,)
    """
    path = SHIPPED_FOLDER / name if (SHIPPED_FOLDER / name / "config.json").is_file() else Path(name)
    if not path.is_dir():
        raise CheckpointError(f"no expert {str(name)!r}: not a folder, nor one of {', '.join(shipped_experts())}")
    return load_policy(path)

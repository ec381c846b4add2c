"""The source experts that come with the library."""

import os
import warnings
from pathlib import Path

import mujoco
from packaging.specifiers import SpecifierSet
from stable_baselines3.common.policies import BasePolicy

from generative_policies.checkpoints import CheckpointError
from generative_policies.policies import load_policy

SHIPPED_FOLDER = Path(__file__).parent / "expert_weights"

# Experts whose env depends on the version of MuJoCo, with the versions that are as the one they were trained with.
PHYSICS = {"Pusher-v5": SpecifierSet(">=3.8,<3.17")}


def shipped_experts() -> list[str]:
    """Return the names of the experts that come with the library."""
    return sorted(folder.name for folder in SHIPPED_FOLDER.iterdir() if (folder / "config.json").is_file())


def has_its_physics(name: str) -> bool:
    """Return whether this MuJoCo simulates a shipped expert's env as it was when the expert was trained."""
    return name not in PHYSICS or mujoco.__version__ in PHYSICS[name]


def load_expert(name: str | os.PathLike[str]) -> BasePolicy:
    """Load a shipped expert by its name, or any policy in the same format by its path.

    Warns where this MuJoCo simulates other contacts than the expert was trained with: the pusher, which succeeds in all
    of its episodes with MuJoCo 3.8 to 3.16, does so in 60 % of them with 3.17.

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
    if path.parent == SHIPPED_FOLDER and not has_its_physics(path.name):
        warnings.warn(
            f"the expert {path.name!r} was trained with a MuJoCo {PHYSICS[path.name]}, and version "
            f"{mujoco.__version__} simulates other contacts, in which it does less well; for its figures, install "
            f"'mujoco{PHYSICS[path.name]}'",
            stacklevel=2,
        )
    return load_policy(path)

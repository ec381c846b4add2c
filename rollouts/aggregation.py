"""Iterated data aggregation: collect on the target with the current translator, label, train anew, round by round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from generative_policies.action_translation import ActionTranslator
from generative_policies.checkpoints import load, save
from generative_policies.data import ActionPairDataset, TransitionDataset
from generative_policies.models.dimensions import check_dim
from generative_policies.rollouts.episodes import Act, MakeEnv, run_episodes, transitions, translated_act
from generative_policies.training import FitSettings, fit, initial_weights

PAIR_FIELDS = ("episodes", "obs", "source_actions", "target_actions")
Label = Callable[[TransitionDataset], ActionPairDataset]
"""Pairs the target's transitions with source actions, such as ``relabel`` with a source's inverse dynamics."""


@dataclass(frozen=True)
class Rounds:
    """How much is collected, and how.

    A single round is not dependable: its data are those of the source policy untranslated, which goes elsewhere.

    Attributes:
        count: Rounds of collecting, labelling and training.
        episodes: Episodes of a round.
        noise: Least and largest noise on the actions, drawn for each episode, in units of half the action range.

    Raises:
        ValueError: If a number is not positive, or the noise is no interval.
    """

    count: int = 3
    episodes: int = 25
    noise: tuple[float, float] = (0.075, 0.2)

    def __post_init__(self) -> None:
        check_dim("count", self.count)
        check_dim("episodes", self.episodes)
        if not 0 <= self.noise[0] <= self.noise[1]:
            raise ValueError(f"noise must be a least and a largest value, got {self.noise}")


class Aggregated(NamedTuple):
    """What iterated aggregation ends with.

    Attributes:
        translator: The last one; none is chosen by what it reaches.
        pairs: All that was collected and labelled.
    """

    translator: ActionTranslator
    pairs: ActionPairDataset


def aggregate(
    build: Callable[[], ActionTranslator],
    source: Act,
    make_target: MakeEnv,
    label: Label,
    rounds: Rounds,
    fit_settings: FitSettings,
    *,
    first_seed: int,
    rng: np.random.Generator,
    generator: torch.Generator,
    pairs: Sequence[ActionPairDataset] = (),
    folder: Path | None = None,
    num_envs: int = 16,
    name: str = "translator",
    progress: bool = True,
) -> Aggregated:
    """Train a translator on what it meets itself; the first round collects with the source's actions as they are.

    Args:
        build: Makes an untrained translator, with weights from PyTorch's global generator.
        source: The source policy.
        make_target: Makes one target env.
        label: Turns the target's transitions into pairs.
        rounds: How much is collected.
        fit_settings: Of each training, which starts from new weights.
        first_seed: Reset seed of the first episode; the following ones count on.
        rng: Source of the noise on the actions.
        generator: Source of weights, batches and the loss's noise.
        pairs: Labelled data that are there already.
        folder: Each round is kept here; an interrupted call goes on from it and ends as one that was not.
        num_envs: Envs in step; the result does not depend on it.
        name: For progress bars.
        progress: Whether to show them.
    """
    labelled = list(pairs)
    act = source
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    for k in range(rounds.count):
        exploration = rng.uniform(*rounds.noise, rounds.episodes).tolist()
        finished = None if folder is None else folder / f"round-{k}.npz"
        if finished is not None and folder is not None and finished.exists():
            with np.load(finished) as arrays:
                labelled.append(ActionPairDataset(**{field: arrays[field] for field in PAIR_FIELDS}))
                generator.set_state(torch.as_tensor(arrays["generator"]))
            translator: ActionTranslator = load(folder / f"round-{k}")
            act = translated_act(source, translator)
            continue
        episodes = run_episodes(
            make_target,
            act,
            range(first_seed + k * rounds.episodes, first_seed + (k + 1) * rounds.episodes),
            exploration=exploration,
            num_envs=num_envs,
            progress=f"{name}, round {k + 1}: collect target episodes" if progress else None,
        )
        labelled.append(label(transitions(episodes)))
        with initial_weights(generator):
            translator = build()
        fit(
            translator,
            ActionPairDataset.concatenate(labelled),
            fit_settings,
            generator=generator,
            progress=f"{name}, round {k + 1}: train" if progress else False,
            state=None if folder is None else folder / f"round-{k}.training",
        )
        act = translated_act(source, translator)
        if folder is not None and finished is not None:
            save(translator, folder / f"round-{k}")
            _keep(labelled[-1], generator, finished)
    return Aggregated(translator, ActionPairDataset.concatenate(labelled))


def share_outside(data: ActionPairDataset, observations: np.ndarray[Any, Any]) -> float:
    """Return the share of observations ``(rows, obs_dim)`` with an entry outside the range of the training data's."""
    low, high = data.obs.min(axis=0), data.obs.max(axis=0)
    return float(((observations < low) | (observations > high)).any(axis=1).mean())


def learn(
    build: Callable[[], nn.Module],
    data: Any,
    updates: int,
    generator: torch.Generator,
    progress: bool | str = False,
) -> Any:
    """Build a model with weights from a generator, and fit it.

    Args:
        build: Makes the untrained model.
        data: A dataset that ``fit`` takes.
        updates: Gradient steps.
        generator: Source of weights, batches and the loss's noise.
        progress: As in ``fit``.
    """
    with initial_weights(generator):
        model = build()
    fit(model, data, FitSettings(num_updates=updates), generator=generator, progress=progress)
    return model


def _keep(pairs: ActionPairDataset, generator: torch.Generator, file: Path) -> None:
    """Write a round's pairs with the generator's state after it, whole or not at all."""
    new = file.with_name(f".{file.name}.new")
    with new.open("wb") as stream:
        arrays: dict[str, Any] = {"episodes": pairs.episodes, **pairs.arrays()}
        np.savez(stream, generator=generator.get_state().numpy(), **arrays)
    new.replace(file)

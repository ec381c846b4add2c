"""Iterated data aggregation: collect on the target with the current translator, learn, round by round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from generative_policies.action_translation import ActionTranslator
from generative_policies.atomic_files import replacing
from generative_policies.checkpoints import load, save
from generative_policies.data import ActionPairDataset, DatasetError
from generative_policies.data.array_files import read_arrays
from generative_policies.models.dimensions import check_dim
from generative_policies.rollouts.episodes import Act, Episode, MakeEnv, run_episodes, translated_act
from generative_policies.training import FitSettings, fit, initial_weights

ENOUGH = 10  # episodes, of which one is held out; of fewer, all are needed

Label = Callable[[Sequence[Episode]], ActionPairDataset]
"""Pairs the target's episodes with source actions, such as by ``relabel`` with a source's inverse dynamics."""


@dataclass(frozen=True)
class Rounds:
    """How much is collected, and how.

    A single round is not dependable: its data are those of the source policy untranslated, which goes elsewhere.

    Attributes:
        count: Rounds of collecting and learning.
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


class Round(NamedTuple):
    """What a translator is learned from in a round.

    Attributes:
        episodes: Of the target, of all rounds so far, in their order.
        previous: The translator of the round before.
        generator: Source of weights, batches and noise.
        state: A file that a training may keep its state in, see ``fit``.
        progress: As in ``fit``.
    """

    episodes: Sequence[Episode]
    previous: ActionTranslator | None
    generator: torch.Generator
    state: Path | None = None
    progress: bool | str = False


Learn = Callable[[Round], ActionTranslator]
"""Makes a translator of all that was collected so far; it keeps nothing from one round to the next."""


class Aggregated(NamedTuple):
    """What iterated aggregation ends with.

    Attributes:
        translator: The last one; none is chosen by what it reaches.
        episodes: All that was collected on the target.
    """

    translator: ActionTranslator
    episodes: list[Episode]


def aggregate(
    learn: Learn,
    source: Act,
    make_target: MakeEnv,
    rounds: Rounds,
    *,
    first_seed: int,
    rng: np.random.Generator,
    generator: torch.Generator,
    start: Act | None = None,
    record_states: bool = False,
    folder: Path | None = None,
    num_envs: int = 16,
    name: str = "translator",
    progress: bool = True,
) -> Aggregated:
    """Train a translator on what it meets itself; the first round collects with the source's actions as they are.

    Args:
        learn: Learns from the episodes, such as ``matching``.
        source: The source policy.
        make_target: Makes one target env.
        rounds: How much is collected.
        first_seed: Reset seed of the first episode; the following ones count on.
        rng: Source of the noise on the actions.
        generator: Source of what ``learn`` draws.
        start: Collects the first round; the source policy by default, whose actions the target must then take.
        record_states: Whether ``learn`` needs physics states.
        folder: Each round is kept here; an interrupted call goes on from it and ends as one that was not.
        num_envs: Envs in step; the result does not depend on it.
        name: For progress bars.
        progress: Whether to show them.
    """
    episodes: list[Episode] = []
    translator: ActionTranslator | None = None
    act = source if start is None else start
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    for k in range(rounds.count):
        exploration = rng.uniform(*rounds.noise, rounds.episodes).tolist()
        finished = None if folder is None else folder / f"round-{k}.npz"
        if finished is not None and folder is not None and finished.exists():
            collected, generator_state = read_round(finished)
            episodes += collected
            generator.set_state(generator_state)
            translator = load(folder / f"round-{k}")
            act = translated_act(source, translator)
            continue
        collected = run_episodes(
            make_target,
            act,
            range(first_seed + k * rounds.episodes, first_seed + (k + 1) * rounds.episodes),
            exploration=exploration,
            num_envs=num_envs,
            record_states=record_states,
            progress=f"{name}, round {k + 1}: collect target episodes" if progress else None,
        )
        episodes += collected
        translator = learn(
            Round(
                episodes,
                translator,
                generator,
                None if folder is None else folder / f"round-{k}.training",
                f"{name}, round {k + 1}: train" if progress else False,
            )
        )
        act = translated_act(source, translator)
        if folder is not None and finished is not None:
            save(translator, folder / f"round-{k}")
            write_round(collected, generator, finished)
    assert translator is not None  # there is at least one round
    return Aggregated(translator, episodes)


def matching(
    build: Callable[[], ActionTranslator],
    label: Label,
    settings: FitSettings,
    pairs: Sequence[ActionPairDataset] = (),
) -> Learn:
    """Learn by regression on paired actions, each round anew.

    Args:
        build: Makes an untrained translator, with weights from PyTorch's global generator.
        label: Turns episodes into pairs.
        settings: Of each training. Of fewer than ten episodes none is held out.
        pairs: Labelled data that are there already.
    """

    def learn(current: Round) -> ActionTranslator:
        data = ActionPairDataset.concatenate([*pairs, label(current.episodes)])
        with initial_weights(current.generator):
            translator = build()
        held_out = settings.validation_fraction if data.num_episodes >= ENOUGH else 0.0
        training = replace(settings, validation_fraction=held_out)
        fit(translator, data, training, generator=current.generator, progress=current.progress, state=current.state)
        return translator

    return learn


def share_outside(training: Sequence[Episode], observations: np.ndarray[Any, Any]) -> float:
    """Return the share of observations ``(rows, obs_dim)`` with an entry outside the range of the training data's."""
    seen = np.concatenate([episode.observations[:-1] for episode in training])
    return float(((observations < seen.min(axis=0)) | (observations > seen.max(axis=0))).any(axis=1).mean())


def learn_model(
    build: Callable[[], nn.Module],
    data: Any,
    updates: int,
    generator: torch.Generator,
    progress: bool | str = False,
) -> Any:
    """Build a model with weights from a generator, and fit it.

    Args:
        build: Makes the untrained model.
        data: A dataset that ``fit`` takes. Of fewer than ten episodes none is held out.
        updates: Gradient steps.
        generator: Source of weights, batches and the loss's noise.
        progress: As in ``fit``.
    """
    with initial_weights(generator):
        model = build()
    held_out = FitSettings.validation_fraction if data.num_episodes >= ENOUGH else 0.0
    settings = FitSettings(num_updates=updates, validation_fraction=held_out)
    fit(model, data, settings, generator=generator, progress=progress)
    return model


def write_round(episodes: Sequence[Episode], generator: torch.Generator, file: Path) -> None:
    """Write a round's episodes with the generator's state after it, whole or not at all."""
    arrays: dict[str, Any] = {
        "generator": generator.get_state().numpy(),
        "lengths": np.array([len(episode.actions) for episode in episodes]),
        "seeds": np.array([episode.seed for episode in episodes]),
        "observations": np.concatenate([episode.observations for episode in episodes]),
        "actions": np.concatenate([episode.actions for episode in episodes]),
        "rewards": np.concatenate([episode.rewards for episode in episodes]),
        "terminated": np.array([episode.terminated for episode in episodes]),
    }
    states = [episode.states for episode in episodes if episode.states is not None]
    if states:
        arrays["states"] = np.concatenate(states)
    with replacing(file) as new:
        np.savez(new, **arrays)


def read_round(file: Path) -> tuple[list[Episode], torch.Tensor]:
    """Read what ``write_round`` wrote, but for successes, which no learner looks at.

    Raises:
        DatasetError: If the file is truncated or foreign.
    """
    arrays = read_arrays(file)
    try:
        bounds = np.cumsum(arrays["lengths"])[:-1]
        ends = np.cumsum(arrays["lengths"] + 1)[:-1]
        count = len(arrays["lengths"])
        states = np.split(arrays["states"], ends) if "states" in arrays else [None] * count
        parts = zip(
            arrays["seeds"],
            np.split(arrays["observations"], ends),
            np.split(arrays["actions"], bounds),
            np.split(arrays["rewards"], bounds),
            states,
            arrays["terminated"],
            strict=True,
        )
        episodes = [
            Episode(int(seed), observations, actions, rewards, None, state, terminated=bool(terminated))
            for seed, observations, actions, rewards, state, terminated in parts
        ]
        generator = torch.as_tensor(arrays["generator"])
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise DatasetError(f"{file} holds no round of episodes, remove it: {error!r}") from error
    return episodes, generator

"""Behaviour cloning as an algorithm of Stable-Baselines3."""

import copy
import io
import math
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Space
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ProgressBarCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from generative_policies.atomic_files import replacing
from generative_policies.data import Demonstrations
from generative_policies.models.arrays import evaluating
from generative_policies.models.dimensions import check_dim, check_number
from generative_policies.pickled_files import warn_of_pickles
from generative_policies.policies.cloned_policies import ClonedPolicy, FlowPolicy, MlpPolicy
from generative_policies.policies.demonstration_batches import (
    Batches,
    actions_inside,
    normalized_observations,
    observations_of,
)
from generative_policies.policies.rollout_buffers import as_demonstrations
from generative_policies.policies.schedules import CosineSchedule
from generative_policies.training import ExponentialMovingAverage, initial_weights

VALIDATION_BATCH = 4_096


class BehaviorCloning(BaseAlgorithm):
    """Clones a policy from demonstrations; one timestep is one gradient step.

    ``policy``, what predicts, is evaluated and saved, holds the averaged weights; ``learner`` those being trained.
    Statistics for normalisation come from the training episodes alone, and are part of the policy.

    Args:
        policy: ``"FlowPolicy"``, ``"MlpPolicy"`` or a class like them.
        env: The env whose spaces the policy gets, or its id. It is never stepped. ``None`` where the demonstrations
            know their spaces, as those of Minari do. Where it is a ``VecNormalize``, demonstrations are normalised by
            its present statistics.
        demonstrations: What ``as_demonstrations`` takes: a Minari dataset, its id or path, episodes as arrays, or SB3's
            buffers. ``None`` for a policy that is only loaded.
        learning_rate: A constant, or a function of the share of the training that remains.
        batch_size: Rows of a gradient step.
        weight_decay: AdamW's.
        max_grad_norm: Limit of the gradient's norm.
        ema_decay: Limit of the decay of the averaged weights; 0 keeps the last ones.
        validation_fraction: Share of the episodes that are held out; 0 trains on all and logs no validation loss.
        policy_kwargs: Arguments of the policy.
        tensorboard_log: As everywhere in SB3.
        verbose: As everywhere in SB3.
        seed: Of the weights, the split, the batches and the noise. PyTorch's and NumPy's global generators are left
            alone; without a seed, one is drawn from PyTorch's.
        device: As everywhere in SB3.

    Raises:
        TypeError: If demonstrations or spaces are something else.
        ValueError: If demonstrations do not fit the spaces, are empty, or hold NaN.

    Example:
        >>> env = gymnasium.make("Pendulum-v1")
        >>> rng = np.random.default_rng(0)
        >>> episodes = [(rng.normal(size=(21, 3)), rng.uniform(-2, 2, (20, 1))) for _ in range(4)]
        >>> model = BehaviorCloning("FlowPolicy", env, demonstrations=episodes, seed=0, device="cpu")
        >>> action, state = model.learn(total_timesteps=10).predict(env.reset(seed=0)[0])
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"FlowPolicy": FlowPolicy, "MlpPolicy": MlpPolicy}
    policy: ClonedPolicy

    def __init__(
        self,
        policy: str | type[ClonedPolicy],
        env: gymnasium.Env[Any, Any] | VecEnv | str | None,
        demonstrations: Any = None,
        learning_rate: float | Callable[[float], float] | None = None,
        *,
        batch_size: int = 256,
        weight_decay: float = 1e-4,
        max_grad_norm: float = 1.0,
        ema_decay: float = 0.999,
        validation_fraction: float = 0.1,
        policy_kwargs: dict[str, Any] | None = None,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        # SB3 refuses the name MlpPolicy for dictionaries, which this library's takes.
        if not isinstance(policy, type) and (not isinstance(policy, str) or policy not in self.policy_aliases):
            raise ValueError(f"policy must be a class or one of {', '.join(self.policy_aliases)}; got {policy!r}")
        policy_class = self._get_policy_from_name(policy) if isinstance(policy, str) else policy
        if learning_rate is not None and not callable(learning_rate):
            check_number("learning_rate", learning_rate)
        super().__init__(
            policy_class,
            env,
            learning_rate=CosineSchedule() if learning_rate is None else learning_rate,
            policy_kwargs=policy_kwargs,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
        )
        self.batch_size = check_dim("batch_size", batch_size)
        self.weight_decay = check_number("weight_decay", weight_decay)
        self.max_grad_norm = check_number("max_grad_norm", max_grad_norm)
        self.ema_decay = check_number("ema_decay", ema_decay, below=1)
        self.validation_fraction = check_number("validation_fraction", validation_fraction, below=1)
        self._generator_state: NDArray[np.uint8] | None = None
        self._split_seed: int | None = None
        self._training: Batches | None = None
        self._validation: Batches | None = None
        self.demonstrations = None if demonstrations is None else as_demonstrations(demonstrations)
        if env is None and self.demonstrations is not None:
            observed, acted = self.demonstrations.observation_space, self.demonstrations.action_space
            if observed is None or acted is None:
                raise ValueError("env may be None where the demonstrations know their spaces; these do not")
            # As SB3 would see an env with them: images with the channels first.
            env_of_spaces = self._wrap_env(_SpacesAlone(observed, acted), monitor_wrapper=False)
            self.observation_space, self.action_space = env_of_spaces.observation_space, env_of_spaces.action_space
            self.n_envs = 1
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        if not hasattr(self, "observation_space"):
            raise ValueError("pass an env, or demonstrations that know their spaces, such as those of Minari")
        self._setup_lr_schedule()
        seed = int(torch.randint(2**31, ())) if self.seed is None else self.seed
        self.generator = torch.Generator().manual_seed(seed)
        with initial_weights(self.generator):
            policy: Any = self.policy_class(self.observation_space, self.action_space, **self.policy_kwargs)
        if not isinstance(policy, ClonedPolicy):
            raise TypeError(
                f"policy must be a ClonedPolicy, such as FlowPolicy or MlpPolicy, got {type(policy).__name__}"
            )
        self.policy = policy
        self.policy.to(self.device)
        self.policy.eval()
        split_seed = int(torch.randint(2**31, (), generator=self.generator))
        if self._split_seed is None:
            self._split_seed = split_seed
        else:  # of a file, which goes on where it was saved, with the same episodes held out
            self.generator.set_state(torch.as_tensor(self._generator_state))
        if self.demonstrations is not None:
            self.demonstrations = as_demonstrations(self.demonstrations)  # load puts in what it is given
            self._take(self.demonstrations, fit_normalizers=True)
        self.learner: ClonedPolicy = copy.deepcopy(self.policy).train()
        self.optimizer = torch.optim.AdamW(
            self.learner.parameters(), lr=1.0, weight_decay=self.weight_decay, fused=True
        )

    def set_demonstrations(self, demonstrations: Any) -> None:
        """Give demonstrations to an algorithm that was loaded; the policy's statistics stay as they are.

        Args:
            demonstrations: As in the constructor.
        """
        self.demonstrations = as_demonstrations(demonstrations)
        self._take(self.demonstrations, fit_normalizers=False)

    def set_env(self, env: gymnasium.Env[Any, Any] | VecEnv, force_reset: bool = True) -> None:
        """Set the env; where it normalises observations, demonstrations are normalised by its statistics from now on.

        Args:
            env: An env with the policy's spaces.
            force_reset: As everywhere in SB3.
        """
        super().set_env(env, force_reset)
        if self.demonstrations is not None:
            self._take(self.demonstrations, fit_normalizers=False)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1_000,
        tb_log_name: str = "BehaviorCloning",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train for some gradient steps.

        Args:
            total_timesteps: Gradient steps.
            callback: SB3's callbacks, called once a gradient step.
            log_interval: Gradient steps between two entries of the log.
            tb_log_name: Name of the run.
            reset_num_timesteps: Whether to count from zero; a second call with ``False`` goes on.
            progress_bar: Whether to show one.

        Raises:
            RuntimeError: If there are no demonstrations.
            ValueError: If the loss becomes NaN or infinite.
        """
        if self._training is None:
            raise RuntimeError("there are no demonstrations; a loaded algorithm gets them by set_demonstrations")
        without_env = self.env is None
        if without_env:  # SB3 resets one, and callbacks look at it
            self.env = self._wrap_env(_SpacesAlone(self.observation_space, self.action_space))
        normalize = self._vec_normalize_env
        moving = normalize is not None and normalize.training
        if normalize is not None:
            normalize.training = False  # what SB3 resets must not move the statistics of the demonstrations
        try:
            total_timesteps, callback = self._setup_learn(
                total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
            )
            callback.on_training_start(locals(), globals())
            while self.num_timesteps < total_timesteps:
                self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
                self._update_learning_rate(self.optimizer)
                loss = self._update(self._training)
                self.num_timesteps += 1
                if self.num_timesteps % log_interval == 0 or self.num_timesteps == total_timesteps:
                    self._log(loss)
                callback.update_locals(locals())
                if not callback.on_step():
                    break
            callback.on_training_end()
        finally:
            if without_env:
                self.env = None
            if normalize is not None:
                normalize.training = moving
        return self

    def validation_loss(self) -> float | None:
        """Return the averaged weights' loss on the held-out episodes, with the same noise at each call.

        ``None`` where nothing is held out.
        """
        data = self._validation
        if data is None:
            return None
        generator = torch.Generator().manual_seed(0)
        total = 0.0
        with evaluating(self.policy):
            for first in range(0, len(data), VALIDATION_BATCH):
                rows = torch.arange(first, min(first + VALIDATION_BATCH, len(data)))
                total += self.policy.loss(*data.batch(rows), generator=generator).item() * len(rows)
        return total / len(data)

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Save everything but the demonstrations as SB3's zip, which is pickled.

        ``policies.save_policy(model.policy, folder)`` writes a format that is safe to load from anybody.

        Raises:
            ValueError: If a policy with another network, a student say, took the place of ``policy``: the zip holds
                weights for the network that was trained.
            OSError: If the file cannot be written; what was there before is still there.
        """
        own, trained = (
            {name: value.shape for name, value in part.state_dict().items()} for part in (self.policy, self.learner)
        )
        if own != trained:
            raise ValueError(
                "policy has another network than the one that was trained, so that load would not find its weights a "
                "place; save it alone, by policies.save_policy(model.policy, folder)"
            )
        self._generator_state = self.generator.get_state().numpy()
        if not isinstance(path, str | pathlib.Path):
            super().save(path, exclude, include)
            return
        path = pathlib.Path(path)
        with replacing(path if path.suffix else path.with_name(f"{path.name}.zip")) as new:  # as SB3 names it
            super().save(new, exclude, include)

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path | io.BufferedIOBase,
        env: gymnasium.Env[Any, Any] | VecEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,  # attributes of the algorithm, as everywhere in SB3
    ) -> Self:
        """Load what ``save`` wrote.

        It is pickled: load it only from somebody you trust. The first such file of a process warns of that.
        ``set_parameters`` takes the weights of a zip alone, and unpickles nothing.

        Args:
            path: The zip; its suffix may be left away.
            env: An env with the policy's spaces.
            device: As everywhere in SB3.
            custom_objects: As everywhere in SB3.
            print_system_info: As everywhere in SB3.
            force_reset: As everywhere in SB3.
            kwargs: Attributes that take the place of those in the file, ``demonstrations`` above all.
        """
        if not isinstance(path, str | pathlib.Path) or any(
            pathlib.Path(name).is_file() for name in (path, f"{path}.zip")
        ):
            warn_of_pickles(path)
        return super().load(path, env, device, custom_objects, print_system_info, force_reset, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        own = ["demonstrations", "_training", "_validation", "generator"]
        return [*super()._excluded_save_params(), *own]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "learner", "optimizer"], []

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        found = super()._init_callback(callback, progress_bar=False)
        if not progress_bar:
            return found
        both = CallbackList([found, _ProgressBar()])
        both.init_callback(self)
        return both

    def _update(self, data: Batches) -> float:
        """Take one gradient step, and take its weights into the average."""
        rows = torch.randint(len(data), (self.batch_size,), generator=self.generator)
        loss = self.learner.loss(*data.batch(rows), generator=self.generator)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        nn.utils.clip_grad_norm_(self.learner.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self._n_updates += 1
        # In the policy's own parameters; built anew, since a copy of an algorithm would still hold the first one's.
        average = ExponentialMovingAverage(self.policy, self.ema_decay, in_place=True)
        average.num_updates = self._n_updates - 1
        average.update(self.learner)
        for buffer, learned in zip(self.policy.buffers(), self.learner.buffers(), strict=True):
            buffer.copy_(learned)
        value = loss.item()
        if not math.isfinite(value):
            raise ValueError(f"the loss became {value} in step {self.num_timesteps + 1}; lower the learning rate")
        return value

    def _log(self, loss: float) -> None:
        self.logger.record("train/loss", loss)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        validation_loss = self.validation_loss()
        if validation_loss is not None:
            self.logger.record("validation/loss", validation_loss)
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(step=self.num_timesteps)

    def _take(self, demonstrations: Demonstrations, fit_normalizers: bool) -> None:
        """Check demonstrations against the spaces, hold some episodes out, and fit the statistics on the others."""
        if demonstrations.actions is None:
            raise ValueError("behaviour cloning needs actions; states alone are for FlowPlanner")
        observations = observations_of(demonstrations, self.observation_space)
        action_space: Any = self.action_space  # a Box, as the policy checked
        if demonstrations.actions.shape[1:] != action_space.shape:
            raise ValueError(
                f"the demonstrations' actions have shape {demonstrations.actions.shape[1:]}, the action space "
                f"{action_space.shape}"
            )
        normalize = self._vec_normalize_env
        if normalize is not None and normalize.norm_obs and not demonstrations.are_normalized:
            observations = normalized_observations(observations, normalize)
        actions = actions_inside(demonstrations.actions, action_space)
        if self.policy.squash_output:
            actions = self.policy.scale_action(actions)
        taken = Demonstrations(demonstrations.lengths, observations, actions)
        training, validation = taken, None
        if self.validation_fraction > 0:
            training, validation = taken.split(self.validation_fraction, np.random.default_rng(self._split_seed))
        self._training = Batches(training, self.policy, self.device)
        self._validation = None if validation is None else Batches(validation, self.policy, self.device)
        if fit_normalizers:
            self.policy.fit_normalizers(*self._training.for_statistics())


class _ProgressBar(ProgressBarCallback):
    """SB3's progress bar, a gradient step at a time whatever the number of envs."""

    def _on_step(self) -> bool:
        self.pbar.update(1)
        return True


class _SpacesAlone(gymnasium.Env[Any, Any]):
    """Stands where SB3 needs an env to look at."""

    def __init__(self, observation_space: Space[Any], action_space: Space[Any]) -> None:
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return any observation."""
        return self.observation_space.sample(), {}

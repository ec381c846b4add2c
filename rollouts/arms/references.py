"""Arms without training: what a policy does at home, on the target as it is, and through both simulators."""

from functools import partial

from generative_policies.rollouts.arms.study import Study
from generative_policies.rollouts.arms.task import Trained
from generative_policies.rollouts.episodes import MakeEnv, random_act
from generative_policies.rollouts.exact_translation import ExactTranslationWrapper


def random(study: Study) -> Trained:
    """Act at random on the target."""
    target = study.task.target
    return Trained(target.make, random_act(target.make().action_space), {})


def source(study: Study) -> Trained:
    """Run the source policy at home: what there is to recover."""
    return Trained(study.task.source.make, study.at_home, {})


def untranslated(study: Study) -> Trained:
    """Run the source policy on the target as it is: the floor."""
    return Trained(study.task.target.make, study.source, {})


def exact(study: Study) -> Trained:
    """Match single steps through both simulators."""
    return Trained(partial(exact_env, study.task.target.make, study.task.source.make), study.source, {})


def exact_env(make_target: MakeEnv, make_source: MakeEnv) -> ExactTranslationWrapper:
    """Return the target behind exact matching."""
    return ExactTranslationWrapper(make_target(), make_source())

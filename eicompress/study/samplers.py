"""How the next recipe is drawn, by samplers of Optuna's."""

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

POPULATION = 20
"""Trained candidates of a generation of NSGA-II."""


def sampler(kind: str, seed: int, *, beside: bool = False) -> BaseSampler:
    """TPE for a space with categories and optional slots; NSGA-II (doi 10.1109/4235.996017) where candidates are cheap
    and many; or random draws, to compare them with.

    `beside` keeps TPE away from trials that still run. Where two metrics are traded it takes its knobs one by one
    by default.
    """
    if kind == "random":
        return RandomSampler(seed=seed)
    if kind == "nsga2":
        return NSGAIISampler(population_size=POPULATION, seed=seed)
    with warnings.catch_warnings():
        # `group` is marked experimental, and the exact version of Optuna is recorded with each trial.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(multivariate=True, group=True, constant_liar=beside, seed=seed)

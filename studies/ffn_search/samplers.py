"""Which sampler finds the best feed-forward blocks in few evaluations, on the recorded table of `score.py`?

    python studies/ffn_search/samplers.py

Each sampler of `--sampler`, and an evolution of our own that changes one gene of one layer of the best of a few
(regularized evolution, arXiv 1802.01548), draws choices for three layers; the table answers with the right answers on
validation, within a limit on the parameters of all blocks. Printed is the median over the seeds of the best choice
within the limit, as the share of right answers, after some numbers of evaluations; a choice that was drawn before
counts again.
"""

import argparse
import json
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import Trial

from eicompress.study.samplers import sampler
from eicompress.values import seed_of

TABLE = Path(__file__).parent / "table.json"
LAYERS = 3
POPULATION, TOURNAMENT = 20, 5
LIMIT = "parameters"

Genes = Mapping[str, Any]
Scored = tuple[float, float]
"""Share of right answers, and parameters as a share of the limit minus one."""


@dataclass(frozen=True)
class Table:
    """The recorded scores."""

    domains: Mapping[str, Sequence[Any]]
    """Values of each gene of a layer."""
    choices: Mapping[tuple[Any, ...], int]
    """Place of a choice, by its genes."""
    sizes: Sequence[int]
    shares: Sequence[float]
    limit: float

    @classmethod
    def read(cls, limit: float) -> "Table":
        """`limit` is a share of the largest choice."""
        kept = json.loads(TABLE.read_text())
        rows = [tuple(each[:3]) for each in kept["choices"]]
        names = ("expression", "blocks", "neurons")
        domains = {name: list(dict.fromkeys(row[at] for row in rows)) for at, name in enumerate(names)}
        sizes = [each[3] for each in kept["choices"]]
        shares = [each / kept["examples"] for each in kept["right"]]
        return cls(domains, {row: at for at, row in enumerate(rows)}, sizes, shares, limit * LAYERS * max(sizes))

    def genes(self) -> Iterator[tuple[str, Sequence[Any]]]:
        for layer in range(LAYERS):
            for name, values in self.domains.items():
                yield f"{name} {layer}", values

    def score(self, genes: Genes) -> Scored:
        places = [self.choices[tuple(genes[f"{name} {layer}"] for name in self.domains)] for layer in range(LAYERS)]
        row = 0
        for place in places:
            row = row * len(self.choices) + place
        return self.shares[row], sum(self.sizes[place] for place in places) / self.limit - 1

    @property
    def best(self) -> float:
        """Of all choices within the limit."""
        sizes = np.array(self.sizes)
        whole = sizes[:, None, None] + sizes[None, :, None] + sizes[None, None, :]
        return max(
            share for share, size in zip(self.shares, whole.flatten().tolist(), strict=True) if size <= self.limit
        )


def of_optuna(kind: str) -> Callable[[Table, int, int], list[Scored]]:
    """What a sampler of a search draws, a new one for each trial as there."""

    def draw(table: Table, seed: int, evaluations: int) -> list[Scored]:
        study = optuna.create_study(direction="maximize")
        found = []
        for index in range(evaluations):
            study.sampler = sampler(kind, seed_of(seed, index))
            trial: Trial = study.ask()
            genes = {name: trial.suggest_categorical(name, values) for name, values in table.genes()}
            share, over = table.score(genes)
            trial.set_constraint(LIMIT, over)
            study.tell(trial, share)
            found.append((share, over))
        return found

    return draw


def by_mutation(table: Table, seed: int, evaluations: int) -> list[Scored]:
    """The youngest of a population are kept; the best of a few of them is drawn again with one gene changed."""
    generator, domains = np.random.default_rng(seed), dict(table.genes())
    population: list[tuple[Genes, Scored]] = []
    for number in range(evaluations):
        if number < POPULATION:
            genes = {name: values[int(generator.integers(len(values)))] for name, values in domains.items()}
        else:
            youngest = population[-POPULATION:]
            places = generator.choice(POPULATION, TOURNAMENT, replace=False)
            genes = dict(max((youngest[place] for place in places), key=lambda each: worth(each[1]))[0])
            name = [*domains][int(generator.integers(len(domains)))]
            others = [value for value in domains[name] if value != genes[name]]
            genes[name] = others[int(generator.integers(len(others)))]
        population.append((genes, table.score(genes)))
    return [scored for _, scored in population]


def worth(scored: Scored) -> tuple[float, float]:
    """Within the limit by right answers, beyond it by how far."""
    share, over = scored
    return (0.0, share) if over <= 0 else (-over, 0.0)


SAMPLERS: Mapping[str, Callable[[Table, int, int], list[Scored]]] = {
    "random": of_optuna("random"),
    "tpe": of_optuna("tpe"),
    "nsga2": of_optuna("nsga2"),
    "own mutation": by_mutation,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument(
        "--after", type=int, nargs="+", default=[40, 80, 160], help="evaluations (default: %(default)s)"
    )
    parser.add_argument("--samplers", nargs="+", default=[*SAMPLERS], choices=[*SAMPLERS])
    parser.add_argument("--limit", type=float, default=0.5, help="share of the most parameters")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table.read(asked.limit)
    print(f"best of all {len(table.shares):,} choices within {asked.limit:.0%} of the parameters: {table.best:.4f}\n")
    print(f"| sampler | {' | '.join(f'after {each}' for each in asked.after)} |")
    print("|---" * (1 + len(asked.after)) + "|")
    for name in asked.samplers:
        runs = [SAMPLERS[name](table, seed, max(asked.after)) for seed in range(asked.seeds)]
        medians = [statistics.median(best(run[:count]) for run in runs) for count in asked.after]
        print(f"| {name} | {' | '.join(f'{each:.4f}' for each in medians)} |", flush=True)


def best(run: Sequence[Scored]) -> float:
    """The highest share of right answers within the limit; 0 if none is."""
    return max((share for share, over in run if over <= 0), default=0.0)


if __name__ == "__main__":
    main()

"""How much each knob matters."""

import math
import warnings

import optuna
from optuna.trial import TrialState

TRIALS_FOR_IMPORTANCE = 10
"""With fewer complete trials the importance of a knob is chance."""


def importance(study: optuna.Study) -> dict[str, float]:
    """The importance of each knob for the objective, in shares; empty for too few complete trials."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < TRIALS_FOR_IMPORTANCE or len({trial.values[0] for trial in complete}) < 2:
        return {}
    # Of two numbers the first is judged; the evaluator looks for what makes it small, and warns that it does.
    sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = optuna.importance.get_param_importances(
            study,
            # Optuna's default evaluator needs scikit-learn.
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            target=lambda trial: sign * trial.values[0],
        )
    return {name: value for name, value in found.items() if math.isfinite(value)}

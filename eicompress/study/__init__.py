"""What to try next.

What is searched    `space`, `space_file`, `recipe_file`, `warm_start`, `fit_to_budget`; what for: `objective`
A search            `plan` and `run` prepare one, `coordinator` runs it; `search` is what it works with
Its trials          `drawing`, `trial_training`, `open_trials`; the rules: `halving`, `time_keeping`, `streaks`
Its end             `rebuilding`, `hand_out`; the rules: `promotion`
What is stored      `store` opens a study, `asked` is what it was asked for; `ledger`, `record_files`, `database`
Optuna              `ask_and_tell`, `resume`, `importance`, `optuna_private`
What was found      `result`, `ranking`, `outcomes`, `agreement`; `forecast`, `ablation`; reported as `events`
"""

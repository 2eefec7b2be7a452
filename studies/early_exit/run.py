"""Early exits against the same model without them: wall clock over the texts of the test split, in turns.

    python studies/early_exit/run.py --model FOLDER --data FOLDER --output FOLDER [--recipe FILE]

The recipe's steps come first, then `early_exit` with each of the criteria. `--threads` is 1: batch 1, as on a device.
"""

"""Changes that turn off what slows learning down: for small data sets and exact steps."""

from experiments.ablations import NO_AUGMENTATION, NO_DROPOUT

QUIET = {**NO_AUGMENTATION, **NO_DROPOUT}
# Whose step compiles in half of the time.
BARE = {**QUIET, "flat_start.until": 0.0}
# Of the fixture `trained`: 225 updates in five epochs. A checkpoint costs as much as many updates.
TRAINED = {"train.epochs": 5, "train.min_steps_per_epoch": 45, **QUIET}

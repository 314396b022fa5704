"""Changes that switch off what makes learning harder: for small sets and exact steps."""

from experiments.ablations import NO_AFFINE, NO_DROPOUT

QUIET = {**NO_AFFINE, **NO_DROPOUT}

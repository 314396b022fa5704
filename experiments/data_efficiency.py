"""Exact match of the base recipe against the number of labeled images.

    python run.py --config experiments/data_efficiency.py --jobs 2

A smaller set is part of every larger one. All sets get about as many updates as the full set:
see train.min_steps. The weights of the last epoch are scored.
"""

from ml_collections import ConfigDict

from experiments import base

SIZES = (50, 100, 200, 400)


def get_config() -> ConfigDict:
    config = base.get_blind_config()
    variants = {f"{size}_images": {"data.train_size": size} for size in SIZES}
    config.grid = {"seeds": (0, 1, 2), "folds": (0,)}
    config.grid.variants = {
        name: ConfigDict(changes, allow_dotted_keys=True)
        for name, changes in {"base": {}, **variants}.items()
    }
    return config

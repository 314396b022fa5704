"""Ten-fold cross-validation of the base recipe: each image is read by a model not trained on it.

    python run.py --config experiments/cross_validation.py --jobs 2

The weights of the last epoch are scored and no run stops early, so that the fold that is read has
no influence on the run.
"""

from ml_collections import ConfigDict

from experiments import base


def get_config() -> ConfigDict:
    config = base.get_blind_config()
    config.grid = {"variants": {"base": {}}, "seeds": (0, 1), "folds": tuple(range(10))}
    return config

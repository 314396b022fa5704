"""Whether all seeds leave the plateau of the constant predictor: three epochs of twenty seeds.

    python run.py --config experiments/plateau.py --jobs 2

`crnn-jax report runs/plateau` gives the latest epoch at which a seed left it.
"""

from ml_collections import ConfigDict

from experiments import base


def get_config() -> ConfigDict:
    config = base.get_blind_config()
    config.train.stop_after = 3
    config.grid = {"variants": {"base": {}}, "seeds": tuple(range(20)), "folds": (0,)}
    return config

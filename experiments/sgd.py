"""The base recipe with plain SGD, as it was before trust ratios: rate 0.04, clipped by global norm.

    python run.py --config experiments/sgd.py

It reads captcha_images_v2 as well as the base recipe does, in 24 epochs instead of 53, but no image
of some other schemes (see experiments/base.py). The records in results/ablations/,
cross_validation/, data_efficiency/, plateau/ and synthetic/ (but for without_data/), and most of
those in speed/, were made with it, and benchmarks/ compares its step with that of other frameworks.
"""

from ml_collections import ConfigDict

from experiments import base

SGD = {
    "optimizer.trust_ratio": False,
    "optimizer.learning_rate": 0.04,
    "optimizer.warmup_steps": 100,
    "augment.ripple": 0.0,
    "train.min_steps": 0,
    "train.min_steps_per_epoch": 0,
}


def get_config() -> ConfigDict:
    config = base.get_config()
    config.update_from_flattened_dict(SGD)
    return config

"""Fifty and a hundred labels, starting from a reader that was trained on generated images only.

    python run.py --config experiments/synthetic_pretrain.py --workdir runs/pretrain
    python run.py --config experiments/few_labels.py --jobs 2
    python studies/few_labels.py runs/few_labels

The labeled images are those of experiments/data_efficiency.py, which starts from scratch.
"""

from ml_collections import ConfigDict

from experiments import base

SIZES = (50, 100)
STEPS = 208


def get_config() -> ConfigDict:
    config = base.get_blind_config()
    config.data.normalize = "image"  # as in the run that it starts from
    config.train.init_from = "runs/pretrain"
    config.augment.ripple = 0.0
    config.train.min_steps = 0
    config.train.min_steps_per_epoch = 0
    config.optimizer.trust_ratio = False
    config.optimizer.learning_rate = 0.01
    config.optimizer.warmup_steps = 20
    variants = {
        f"{size}_labels": {
            "data.train_size": size,
            "train.epochs": round(STEPS / -(-size // config.train.batch_size)),
        }
        for size in SIZES
    }
    config.grid = {"seeds": (0, 1, 2), "folds": (0,)}
    config.grid.variants = {k: ConfigDict(v, allow_dotted_keys=True) for k, v in variants.items()}
    return config

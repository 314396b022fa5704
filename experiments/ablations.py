"""Effect of each part of the base recipe. A variant is a name and the keys that it changes.

    python run.py --config experiments/ablations.py --jobs 2           the whole grid
    python run.py --config experiments/ablations.py:no_flat_start      one variant

`get_config` sets the seeds and folds. The weights of the last epoch are scored, so that the
validation part has no influence.

Two techniques took more than a few lines, did not help and were removed: CTC on the first LSTM
(arXiv 2102.03216) and consistency of two views (arXiv 2410.05101, with half the epochs, for the
same cost). Commit 2945ae3 has the code, results/ablations/ the results.
"""

from ml_collections import ConfigDict

from crnn_jax.errors import ConfigError
from experiments import base
from experiments.sgd import SGD

NO_AUGMENTATION = {
    "augment.shift": 0.0,
    "augment.rotate": 0.0,
    "augment.scale": 0.0,
    "augment.shear": 0.0,
    "augment.ripple": 0.0,
}

NO_DROPOUT = {"model.dropout": 0.0, "model.lstm_dropout": 0.0}

# The records in results/ablations/ have these names.
VARIANTS = {
    "base": {},
    "no_flat_start": {"flat_start.until": 0.0},
    "no_augmentation": NO_AUGMENTATION,
    "no_dropout": NO_DROPOUT,
    "no_averaging": {"train.ema_decay": 0.0},
    "set_moments": {"data.normalize": "set"},
    "picture_moments": {"data.normalize": "image"},
    "no_standardisation": {"data.normalize": ""},
    # Trust ratios undo the clipping, so it is measured without them.
    "no_clipping": {**SGD, "optimizer.clip_norm": 0.0},
    "clip_each": {**SGD, "optimizer.clip_each": True},
    "no_nesterov": {"optimizer.nesterov": False},
    "constant_rate": {"optimizer.schedule": "constant"},
    "no_ripple": {"augment.ripple": 0.0},
    "thickness": {"augment.thickness": 0.3},
    "lines": {"augment.lines": 2},
    "blur": {"augment.blur": 0.5},
    "contrast": {"augment.contrast": 0.2},
    "brightness": {"augment.brightness": 0.1},
    "noise": {"augment.noise": 0.05},
    "sgd": SGD,
    # Adam with its usual learning rate.
    "adam": {
        "optimizer.name": "adam",
        "optimizer.trust_ratio": False,
        "optimizer.learning_rate": 0.001,
        "optimizer.nesterov": False,
    },
    "entropy": {"loss.entropy": 0.02},
    "by_length": {"loss.by_length": True},
    "layer_norm": {"model.norm": "layer"},
    "gru": {"model.cell": "gru"},
    "wider": {"model.conv_features": (48, 96), "model.dense_features": 96},
    "deeper": {"model.conv_features": (32, 64, 128)},
    # The first recipe of this project: pixels in [0, 1], a small constant learning rate, 50 epochs.
    "seed_recipe": {
        **NO_AUGMENTATION,
        "train.min_steps": 0,
        "train.min_steps_per_epoch": 0,
        "flat_start.until": 0.0,
        "data.normalize": "",
        "optimizer.trust_ratio": False,
        "optimizer.learning_rate": 0.002,
        "optimizer.schedule": "constant",
        "optimizer.warmup_steps": 0,
        "train.ema_decay": 0.0,
        "train.epochs": 50,
    },
}


def get_config(name: str | None = None) -> ConfigDict:
    if name is not None and name not in VARIANTS:
        raise ConfigError(f"there is no variant {name!r}; choose from {', '.join(VARIANTS)}")
    config = base.get_blind_config()
    variants = VARIANTS if name is None else {name: VARIANTS[name]}
    config.grid = {"seeds": (0, 1, 2), "folds": (0,)}
    config.grid.variants = {k: ConfigDict(v, allow_dotted_keys=True) for k, v in variants.items()}
    return config

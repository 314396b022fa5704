"""A reader for your own captchas from a few dozen labels: starts from the general reader.

    python run.py --config experiments/adapt.py --config.data.dir=FOLDER

All weights of the general reader are trained further, its symbols matched to those of the labels;
a symbol that it does not know gets new weights. An epoch has at least 30 steps, so that fifty
labels are seen about forty times and a thousand about four times.
"""

from ml_collections import ConfigDict

from experiments import general


def get_config() -> ConfigDict:
    config = general.get_config()
    config.update_from_flattened_dict(
        {
            "data.source": "folder",
            "data.style": "captcha_v2",
            "data.count": 1040,
            "data.val_fraction": 0.1,
            "train.init_from": "general",
            "train.epochs": 4,
            "train.min_steps_per_epoch": 30,
            "train.batch_size": 16,
            "train.eval_batch_size": 32,
            "train.ema_decay": 0.95,
            "optimizer.learning_rate": 5e-4,
            "optimizer.warmup_steps": 10,
            "augment.shift": 0.04,
            "augment.rotate": 2.0,
            "augment.scale": 0.06,
            "augment.shear": 0.06,
        }
    )
    return config

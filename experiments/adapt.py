"""Adapts the general reader to your own captchas with a few dozen labels, or with none.

    python run.py --config experiments/adapt.py --config.data.dir=FOLDER
    python run.py --config experiments/adapt.py --config.data.dir=FOLDER \\
        --config.data.unlabeled=MORE
    python run.py --config experiments/adapt.py:unlabeled --config.data.dir=FOLDER

All weights of the general reader are trained further. Its symbols are matched to those of the
labels; a symbol that it does not know gets new weights. If the labels ignore case, letters are
recognized in both cases (train.detect_case). The adapted reader reads only texts of the lengths
that the labels have and, if these differ, one shorter and one longer (data.length). An epoch makes
at least 10 steps and three passes over the labels, so that fifty labels, like a thousand, are seen
about twelve times; twice as often if the reader does not know some of their symbols. With few
labels, the learning rate is lower and the weights stay closer to those of the reader, because ten
labels at the full rate make it worse (results/general/README.md).

With data.unlabeled, the reader labels the images of another folder before each epoch but the first,
and trains on its confident readings. With `adapt.py:unlabeled` all images are unlabeled, whatever
their names: see crnn_jax/training/self_training.py.
"""

import string

from ml_collections import ConfigDict

from crnn_jax.errors import ConfigError
from experiments import general

# Of the general reader. Written out, because importing its alphabet would import jax.
SYMBOLS = string.digits + string.ascii_letters + "+-*/=?"


def get_config(labels: str = "labeled") -> ConfigDict:
    """Returns the config. `labels` is 'labeled', or 'unlabeled' if file names are not labels."""
    config = general.get_config()
    config.update_from_flattened_dict(
        {
            "data.source": "folder",
            "data.style": "captcha_v2",
            "data.count": 1040,
            "data.width": 0,  # by the aspect ratio of the text
            "data.length": "labels",
            "data.complete_alphabet": True,
            "data.val_fraction": 0.1,
            "data.min_val_size": 20,
            "train.init_from": "general",
            "train.detect_case": True,
            "train.epochs": 4,
            "train.epochs_for_new_symbols": 8,
            "train.half_rate_labels": 17,
            "train.half_way_labels": 4,
            "train.passes_per_epoch": 3,
            "train.min_steps_per_epoch": 10,
            "train.batch_size": 16,
            "train.eval_batch_size": 32,
            "train.ema_decay": 0.95,
            "optimizer.learning_rate": 7e-4,
            "optimizer.warmup_steps": 10,
            "augment.shift": 0.04,
            "augment.rotate": 2.0,
            "augment.scale": 0.06,
            "augment.shear": 0.06,
        }
    )
    if labels == "unlabeled":
        config.update_from_flattened_dict(
            {
                "data.use_labels": False,
                "data.length": "",
                "data.alphabet": SYMBOLS,
                "train.passes_per_epoch": 1,
                "optimizer.learning_rate": 5e-4,
            }
        )
    elif labels != "labeled":
        raise ConfigError(f"labels must be 'labeled' or 'unlabeled', not {labels!r}")
    return config

"""A reader in the fewest seconds: smaller pictures, and a short run of the base recipe.

    python run.py --config experiments/fast.py

@@@

128x32 pixels hold what tells the symbols of a 200x50 captcha apart, at two fifths of the work.
Twice as many steps of half as many pictures learn more in as much time. So short a run ends before
augmentation repays what it costs; a little dropout makes up for it, and lets all seeds arrive.
"""

from ml_collections import ConfigDict

from experiments import base
from experiments.ablations import NO_AFFINE


def get_config() -> ConfigDict:
    config = base.get_config()
    config.update_from_flattened_dict(
        {
            "data.width": 128,
            "data.height": 32,
            **NO_AFFINE,
            "model.dropout": 0.1,
            "model.lstm_dropout": 0.1,
            "train.batch_size": 8,
            "train.epochs": 8,
        }
    )
    return config

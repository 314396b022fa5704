"""The SGD recipe with a small model and small images: runs in seconds, to try things out.

python run.py --config experiments/tiny.py --config.data.dir=FOLDER
"""

from ml_collections import ConfigDict

from experiments import base
from experiments.sgd import SGD


def get_config() -> ConfigDict:
    config = base.get_config()
    config.update_from_flattened_dict(
        {
            "data.width": 64,
            "data.height": 16,
            "model.conv_features": (4, 8),
            "model.dense_features": 16,
            "model.lstm_units": (16, 8),
            **SGD,
            "optimizer.warmup_steps": 5,
            "train.batch_size": 8,
            "train.epochs": 4,
            "train.eval_batch_size": 8,
        }
    )
    return config

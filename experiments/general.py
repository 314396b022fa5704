"""The general reader: one model for captcha schemes that it was not trained on.

    crnn-jax faces FOLDER faces.npz
    python run.py --config experiments/general.py --workdir runs/general \\
        --config.data.style=faces.npz

It trains on an endless stream of the wide generator, which draws a style for each image: hundreds
of faces, colors, warps, clutter, and file sizes. A killed run resumes from its last epoch.
`small` selects the reference architecture:

    python run.py --config experiments/general.py:small --workdir runs/general_small ...
"""

from ml_collections import ConfigDict

from crnn_jax.errors import ConfigError
from experiments import base


def get_config(size: str = "large") -> ConfigDict:
    """Returns the config. `size` is 'large' (3.2 million parameters, color) or 'small'."""
    config = base.get_config()
    config.update_from_flattened_dict(
        {
            "data.source": "stream",
            "data.style": "wide",
            "data.count": 131_072 + 2_048,
            "data.val_fraction": 2_048.5 / (131_072 + 2_048),
            "data.crop": True,
            "data.normalize": "image",
            "train.epochs": 40,
            "train.min_steps": 0,
            "train.patience": 0,
            "train.checkpoint_selection": "last",
            "train.ema_decay": 0.999,
            "train.batch_size": 256,
            "train.eval_batch_size": 256,
            "optimizer.name": "adam",
            "optimizer.trust_ratio": False,
            "optimizer.learning_rate": 1.5e-3,
            "optimizer.clip_norm": 1.0,
            "optimizer.warmup_steps": 500,
            # The generator already distorts every image.
            "augment.shift": 0.0,
            "augment.rotate": 0.0,
            "augment.scale": 0.0,
            "augment.shear": 0.0,
            "augment.ripple": 0.0,
            "model.dropout": 0.0,
            "model.lstm_dropout": 0.0,
        }
    )
    if size == "large":
        config.update_from_flattened_dict(
            {
                "data.width": 256,
                "data.height": 64,
                "data.channels": 3,
                "optimizer.learning_rate": 1e-3,
                "model.conv_features": (32, 64, 128, 128, 192, 192),
                "model.pool": "2x2 2x2 1x1 1x2 1x1 1x2",
                "model.norm": "layer",
                "model.dense_features": 256,
                "model.lstm_units": (256, 192),
            }
        )
    elif size != "small":
        raise ConfigError(f"size must be 'large' or 'small', not {size!r}")
    return config

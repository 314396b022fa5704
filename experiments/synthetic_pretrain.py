"""A reader without any labels: the SGD recipe on an endless stream of generated images.

    python run.py --config experiments/synthetic_pretrain.py --workdir runs/pretrain
    crnn-jax evaluate runs/pretrain --data data/captcha_images_v2

It reads 876 and 877 of the 936 real images (seeds 0 and 1), 93.6 %, and saw none of them in
training (commit e306760, two devices, Intel Xeon). Earlier commits, which drew other dropout masks
and distortions, read between 860 and 890 (seed 0; records in results/synthetic/). A run makes 2,928
steps in six minutes on two cores.

Another run starts from it with --config.train.init_from=runs/pretrain
(experiments/few_labels.py: fifty and a hundred labels).
"""

from ml_collections import ConfigDict

from experiments import base
from experiments.sgd import SGD


def get_config() -> ConfigDict:
    config = base.get_config()
    config.update_from_flattened_dict(
        {
            **SGD,
            "data.source": "stream",
            "data.count": 4096,
            "data.val_fraction": 0.05,
            # By image, because readers of other images must not depend on this set's brightness.
            "data.normalize": "image",
            "train.epochs": 12,
            "train.patience": 0,
            "train.ema_decay": 0.995,
            # The generator has its own distortions.
            "augment.shift": 0.0,
            "augment.rotate": 2.0,
            "augment.scale": 0.05,
            "augment.shear": 0.05,
        }
    )
    return config

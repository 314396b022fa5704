"""A reader in the fewest seconds: smaller images, and a short run of the SGD recipe.

    python run.py --config experiments/fast.py

The run reads 97 % of fold 0 of ten of captcha_images_v2 31, 22 and 20 s after the command (seeds 0,
1 and 2; two cores of an AMD EPYC, warm compilation cache). The record is
results/speed/time_to_accuracy.json, and its command is in results/speed/README.md. Seeds 0 to 6 all
reach 97 %, at epochs 5 to 10 (results/speed/fast_tried.txt).

144x36 pixels keep the details that distinguish the symbols of a 200x50 captcha, at half of the
cost. Twice as many steps of half as many images learn more in the same time. In such a short run
augmentation costs more than it gains; a little dropout replaces it. Eight epochs, or 128x32 pixels,
or no dropout reach 97 % in fewer seconds, but with some seeds never (the same file).

The SGD recipe reads no image of some schemes (experiments/sgd.py), so try it on yours first.
"""

from ml_collections import ConfigDict

from experiments import base
from experiments.ablations import NO_AUGMENTATION
from experiments.sgd import SGD


def get_config() -> ConfigDict:
    config = base.get_config()
    config.update_from_flattened_dict(
        {
            "data.width": 144,
            "data.height": 36,
            **SGD,
            **NO_AUGMENTATION,
            "model.dropout": 0.1,
            "model.lstm_dropout": 0.1,
            "train.batch_size": 8,
            "train.epochs": 10,
        }
    )
    return config

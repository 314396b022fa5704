"""The default recipe: the default of every key, as declared in crnn_jax/config/keys.py.

    python run.py --config experiments/base.py

A run takes three minutes on one core of an AMD EPYC, beside another run on the other core. Ten-fold
cross-validation, seeds 0 and 1: 932 and 931 of 936 images of captcha_images_v2 read by models
that never saw them (results/cross_validation/, commit 2945ae3). All of seeds 0 to 19 leave the
plateau by epoch 3, on that set and on lowercase_4to5 (results/plateau/).

Exact match of the recipe minus exact match of variants in experiments/ablations.py, in points,
three seeds of fold 0 of captcha_images_v2 (and two of lowercase_4to5): no flat start +98.2 (+2.9),
no clipping +98.2, each variable clipped by itself +21.6, no dropout -0.7 (+1.5), no augmentation
-0.4 (+1.5), no averaging -0.4 (0), Adam 0 (+0.5), no Nesterov -0.4. One image of the first set is
0.35 points of its 282 readings (results/ablations/, commit 2945ae3).
"""

from ml_collections import ConfigDict

from crnn_jax import config as config_lib


def get_config() -> ConfigDict:
    return ConfigDict(config_lib.defaults())


def get_blind_config() -> ConfigDict:
    """The recipe without the influence of validation: no early stop, the last weights."""
    config = get_config()
    config.data.source = "folder"
    config.data.num_folds = 10
    config.train.checkpoint_selection = "last"
    config.train.patience = 0
    return config

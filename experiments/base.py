"""The default recipe: the default of every key, as declared in crnn_jax/config/keys.py.

    python run.py --config experiments/base.py

SGD with Nesterov momentum on gradients that are scaled to the norms of their variables (LARS). The
rate, 0.004, is relative: see training/optimizer.py. On univ_mixed6, rates of 0.008 and more read no
image, and 0.002 reads fewer (results/recipe/README.md).

Before trust ratios, the recipe was experiments/sgd.py, which reads no image of univ_mixed6. Its
ablations are in results/ablations/: exact match minus that of the variant, in points, three
seeds of fold 0 of captcha_images_v2 (and two of lowercase_4to5): no flat start +98.2 (+2.9), no
dropout -0.7 (+1.5), no augmentation -0.4 (+1.5), no averaging -0.4 (0), Adam 0 (+0.5), no Nesterov
-0.4. One image of the first set is 0.35 points of its 282 readings (commit 2945ae3).
"""

from ml_collections import ConfigDict

from crnn_jax import config as config_lib


def get_config() -> ConfigDict:
    return ConfigDict(config_lib.defaults())


def get_blind_config() -> ConfigDict:
    """Returns the recipe without influence of validation: no early stopping, the last weights."""
    config = get_config()
    config.data.source = "folder"
    config.data.num_folds = 10
    config.train.checkpoint_selection = "last"
    config.train.patience = 0
    return config

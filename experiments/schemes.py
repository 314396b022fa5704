"""The benchmark: a recipe on many captcha schemes, with 10, 50, 100, 500 and all labels.

    python run.py --config experiments/schemes.py --jobs 2                 the base recipe
    python run.py --config experiments/schemes.py:adapt --jobs 2           from the general reader
    python run.py --config experiments/schemes.py:rest --jobs 2            and the rest unlabeled
    python run.py --config experiments/schemes.py:unlabeled --jobs 2       no labels at all
    python run.py --config experiments/schemes.py:adapt,labels=50+100      some numbers of labels
    python run.py --config experiments/schemes.py:adapt,FOLDER,FOLDER      on folders of your own
    python run.py --config experiments/schemes.py:base,labels=all --jobs 2 \
        --config.optimizer.learning_rate=0.002 --workdir runs/rate_0.002   another peak rate
    python studies/zero_labels.py general FOLDER... --out runs/schemes/zero_labels.json
    crnn-jax report runs/schemes

Give each recipe its own --workdir; a report refuses runs of several recipes with the same
number of labels. It reads zero_labels.json from its directory.

A scheme is a folder of labeled images. Without FOLDERs the schemes are those of ../shared/data.

In each scheme 500 images, or a third of a set of fewer than 1,500, are for testing only. The choice
depends on the labels alone, so all recipes, seeds and numbers of labels have the same test images.
A cell reads them once, when it ends. Validation does not influence the result either: the weights
are those of the last epoch, no run stops early, and the validation part, a twentieth of the
remaining images, is used only for the confidences and the log. With N labels, the alphabet is also
derived from these N, unless data.alphabet is given.

The images of a smaller number of labels are among those of every larger one, and they are the same
for all seeds: seeds differ in initial weights, order, dropout and augmentation.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from crnn_jax import config as config_lib
from crnn_jax.data import listing, splits
from crnn_jax.errors import ConfigError, DataError
from crnn_jax.inference.held_out import TEST_SIZE
from experiments import adapt, base

SHARED = Path("../shared/data")
OLDER = ("captcha_images_v2", "lowercase_4to5")
LABELS = (10, 50, 100, 500)  # in addition to all
_LABELS = "labels="  # in the arguments


class Recipe(NamedTuple):
    """A way to train. `RECIPES` lists them by name."""

    config: Callable[[], ConfigDict]
    changes: Mapping[str, Any] = {}  # to its config, for all numbers of labels
    labels: tuple[int | str, ...] = (*LABELS, "all")


RECIPES: Mapping[str, Recipe] = {
    "base": Recipe(base.get_blind_config),
    "adapt": Recipe(adapt.get_config),
    "rest": Recipe(adapt.get_config, {"data.unlabeled": "rest"}, LABELS),
    "unlabeled": Recipe(lambda: adapt.get_config("unlabeled"), labels=("no",)),
}


def get_config(arguments: str = "base") -> ConfigDict:
    """Returns the config of a sweep.

    Args:
      arguments: the name of a recipe; then, after commas, `labels=` with numbers of labels that are
        joined by +, if not those of the recipe, and folders, if not the default ones.

    Raises:
      ConfigError: there is no such recipe, a number of labels is neither a number nor all, two
        folders have the same name, or no scheme has so many training images.
    """
    name, *rest = arguments.split(",")
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}; choose from {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    folders = [word for word in rest if not word.startswith(_LABELS)]
    for word in rest:
        if word.startswith(_LABELS):
            recipe = recipe._replace(labels=parse_labels(word.removeprefix(_LABELS)))
    config = recipe.config()
    config.update_from_flattened_dict(
        {
            "data.source": "folder",
            "data.test_size": TEST_SIZE,
            "data.num_folds": 0,
            "data.val_fraction": 0.05,
            "data.min_val_size": 0,
            "train.checkpoint_selection": "last",
            "train.patience": 0,
        }
    )
    variants: dict[str, ConfigDict] = {}
    most = 0  # labels of the largest scheme
    for path in map(Path, folders or default_folders()):
        if any(variant.split("/")[0] == path.name for variant in variants):
            raise ConfigError(f"two folders are named {path.name}")
        available = num_trainable(path, config)
        most = max(most, available)
        for labels in recipe.labels:
            if isinstance(labels, int) and labels >= available:
                continue
            size = labels if isinstance(labels, int) else 0
            changes = {**recipe.changes, "data.dir": str(path), "data.train_size": size}
            variants[f"{path.name}/{labels}"] = ConfigDict(changes, allow_dotted_keys=True)
    if not variants:
        raise ConfigError(
            f"no scheme has more than {most} training images; choose fewer labels, or labels=all"
        )
    config.grid = {"seeds": (0, 1, 2), "folds": (0,)}
    config.grid.variants = ConfigDict(variants, allow_dotted_keys=True)
    return config


def parse_labels(numbers: str) -> tuple[int | str, ...]:
    """Converts '10+50+all' to (10, 50, 'all'). ConfigError if it is of another form."""
    words = numbers.split("+")
    if wrong := [word for word in words if word != "all" and not (word.isdecimal() and int(word))]:
        raise ConfigError(
            f"labels={numbers}: {wrong[0]!r} is neither a number of labels nor 'all'; write, for "
            "example, labels=50+100+all"
        )
    return tuple(word if word == "all" else int(word) for word in words)


def default_folders() -> list[str]:
    """Returns the existing schemes of ../shared/data, or else the folder of the README."""
    folders = [*sorted(SHARED.glob("schemes/*")), *(SHARED / name for name in OLDER)]
    return [str(path) for path in folders if path.is_dir()] or [config_lib.DEFAULT_DIR]


def num_trainable(path: Path, config: ConfigDict) -> int:
    """Returns a scheme's number of training images; 2**31 if the folder cannot be used."""
    data = config_lib.from_config_dict(config).data
    try:
        found = listing.checked(dataclasses.replace(data, dir=str(path)))
        parts = [found.parts.get(file, "") for file in found.labels]
        split = splits.split(list(found.labels.values()), data, parts)
        return len(split.train) + len(split.unlabeled)
    except DataError:
        return 2**31

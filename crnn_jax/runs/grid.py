"""Grids: the runs (cells) of variants x seeds x folds, and what is checked before any of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

from msgspec import Meta

from crnn_jax import config as config_lib
from crnn_jax import schema
from crnn_jax.config import Config
from crnn_jax.data import resolve
from crnn_jax.errors import ConfigError, one_line, quote


class Cell(NamedTuple):
    """One run of a grid."""

    variant: str
    seed: int
    fold: int
    config: Config

    @property
    def path(self) -> Path:
        """The run directory, relative to the directory of the grid."""
        return Path(self.variant) / f"seed{self.seed}-fold{self.fold}"


@dataclasses.dataclass(frozen=True)
class Grid:
    """Variants of a base config, crossed with seeds and folds.

    A variant is a name and the dotted keys that it changes. The name can be a path:
    `SCHEME/LABELS` is in the directory of its scheme.
    """

    base: Mapping[str, Any]  # plain values, as for `config.from_dict`
    variants: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    folds: Sequence[int]

    def cells(self) -> list[Cell]:
        """Returns all cells. Seeds and folds are outermost, so that variants can be compared early.

        Raises:
          ConfigError: a key or value of a variant is wrong, or its generated images are not those
            of the others; the message names the variant.
        """
        result = []
        known = resolve.Known()
        for seed in self.seeds:
            for fold in self.folds:
                for name, changes in self.variants.items():
                    values = {**changes, "seed": seed, "data.fold": fold}
                    try:
                        config = config_lib.from_dict(config_lib.with_changes(self.base, values))
                        config = resolve.resolve(config, known)
                    except ConfigError as error:
                        raise ConfigError(f"variant {one_line(name)}: {error}") from error
                    result.append(Cell(name, seed, fold, config))
        _check_data(result)
        return result


_KINDS = {"synthetic": "generated", "stream": "generated"}  # sources with the same images
# Keys of the section data on which generated images depend.
_OF_IMAGES = ("style", "synthetic_seed", "width", "height", "channels", "crop")
_OF_MIXTURE = ("generated_share", "train_size")  # the number of generated images, too


def _check_data(cells: Sequence[Cell]) -> None:
    """Checks that a report will be able to compare the cells: their data have one fingerprint.

    For images of a folder, that is not known before they are read. The variants A/B of each A are
    compared only with each other, because each A can be a scheme.
    """
    firsts: dict[str, tuple[dict[str, Any], str]] = {}
    for cell in cells:
        data = cell.config.data
        values: dict[str, Any] = {"source": _KINDS.get(data.source, data.source)}
        if data.source != "folder":
            names = _OF_IMAGES + (_OF_MIXTURE if data.source == "mixture" else ("count",))
            values |= {name: getattr(data, name) for name in names}
        first = firsts.setdefault(cell.variant.rpartition("/")[0], (values, cell.variant))
        if values != first[0]:
            key = next(name for name in values if values[name] != first[0].get(name))
            raise ConfigError(
                f"variant {one_line(cell.variant)}: data.{key} is not as in the variant "
                f"{one_line(first[1])}, so its images differ, and a report cannot compare them; "
                "give both the same value, or write the images to a folder with `crnn-jax "
                "generate`, and name it in data.dir"
            )


# Keys that the grid sets, and where.
_SET_BY_GRID: Mapping[str, str] = {"seed": "seeds", "data.fold": "folds"}


class _Section(TypedDict):
    variants: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=200)], dict[str, Any]],
        Meta(min_length=1),
    ]
    seeds: Annotated[Sequence[schema.Seed], Meta(min_length=1, max_length=10**4)]
    folds: Annotated[Sequence[schema.Count], Meta(min_length=1, max_length=10**4)]


def from_dict(values: Mapping[str, Any], given: Collection[str] = ()) -> Grid:
    """Builds a Grid from the plain values of a config that has a section `grid`.

    Args:
      values: the plain values.
      given: the dotted keys that the command line sets.

    Raises:
      ConfigError: a key of the section is missing or has the wrong type, or seed or data.fold is
        set outside of the section; the message names it.
    """
    base = {key: value for key, value in values.items() if key != "grid"}
    try:
        section = schema.check(values["grid"], _Section)
    except schema.InvalidError as error:
        raise ConfigError(f"the section grid: {error}") from error
    for name in ("seeds", "folds"):
        if len(set(section[name])) < len(section[name]):
            raise ConfigError(f"the section grid: {name} has the same number twice")
    for name in section["variants"]:
        parts = name.split("/")
        wrong = any(not part or Path(part).name != part or part[0] == "." for part in parts)
        if wrong or len(parts) > 2:  # the reports find no others
            raise ConfigError(f"variant {quote(name)}: it must be a valid directory name, or A/B")
    _check_seed_and_fold(base, section["variants"], given)
    return Grid(base, section["variants"], tuple(section["seeds"]), tuple(section["folds"]))


def _check_seed_and_fold(
    base: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]], given: Collection[str]
) -> None:
    """Checks that seed and data.fold are set in the section `grid` only."""
    defaults, base = config_lib.flatten(config_lib.defaults()), config_lib.flatten(base)
    for key, name in _SET_BY_GRID.items():
        value = base.get(key, defaults[key])
        if value != defaults[key] or key in given:
            raise ConfigError(
                f"{key} is set by the grid of a sweep; write --config.grid.{name}='({value},)'"
            )
        for variant, changes in variants.items():
            if key in changes:
                raise ConfigError(
                    f"variant {one_line(variant)}: {key} is set by the grid; remove it, and list "
                    f"the values in grid.{name}"
                )

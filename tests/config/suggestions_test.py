import pytest

from crnn_jax import config as config_lib
from crnn_jax.config import suggestions
from crnn_jax.errors import ConfigError

KNOWN = dict(config_lib.declared_keys())


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("train.lr", "optimizer.learning_rate"),
        ("lr", "optimizer.learning_rate"),
        ("train.learning_rate", "optimizer.learning_rate"),
        ("optimizer.learningRate", "optimizer.learning_rate"),
        ("train.batch", "train.batch_size"),
        ("data.batchSize", "train.batch_size"),
        ("train.num_epochs", "train.epochs"),
        ("model.hidden_size", "model.lstm_units"),
        ("data.path", "data.dir"),
        ("data.img_width", "data.width"),
        ("data.validation_split", "data.val_fraction"),
        ("train.early_stopping", "train.patience"),
        ("train.pretrained", "train.init_from"),
        ("data.characters", "data.alphabet"),
        ("data.grayscale", "data.channels"),
        ("augment.rotation", "augment.rotate"),
        ("train.grad_clip", "optimizer.clip_norm"),
        ("train.optimizer", "optimizer.name"),
        ("train.random_state", "seed"),
        ("data.widht", "data.width"),
        ("pad.widht", "data.width"),  # a, .wid and t of 9 and 10 characters: 12 / 19
        ("dropout", "model.dropout"),
        ("train.schedulr", "optimizer.schedule"),
    ],
)
def test_a_wrong_key_names_the_one_that_is_meant(wrong: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=rf"did you mean {meant}\?"):
        config_lib.check_key(wrong)


def test_every_suggestion_is_a_key_and_every_name_has_one_meaning() -> None:
    assert set(suggestions._SYNONYMS) <= set(KNOWN)
    for key, names in suggestions._SYNONYMS.items():
        assert all(suggestions._BY_NAME[name.replace("_", "")] == key for name in names.split())
    assert suggestions.nearest("zzz.qqqqqqqqq", list(KNOWN)) == ""

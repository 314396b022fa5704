"""Suggests a config key for an unknown one, by section, spelling or meaning."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

# Renamed keys, by old name. runs/config_migrations.py translates the records of older runs.
# Elsewhere an old name is an error that names the new one.
RENAMED = {
    "data.standardise": "data.normalize",
    "log.tensorboard": "log.trackers",
    "train.average_decay": "train.ema_decay",
    "train.least_steps": "train.min_steps_per_epoch",
    "train.weights": "train.checkpoint_selection",
}

# Names that other programs use, by the key that means the same. Case and _ do not matter.
_SYNONYMS = {
    "seed": "random_seed rng_seed random_state",
    "data.dir": "data_dir dataset dataset_dir data_path path root folder train_dir train_data "
    "images image_dir img_dir input_dir",
    "data.width": "img_width image_width img_w imgw input_width w",
    "data.height": "img_height image_height img_h imgh input_height h",
    "data.channels": "num_channels in_channels gray grey grayscale greyscale color rgb nc",
    "data.alphabet": "charset characters chars vocab vocabulary symbols classes num_classes "
    "letters",
    "data.case": "lowercase uppercase lower upper case_sensitive ignore_case sensitive",
    "data.label_pattern": "label_regex regex pattern",
    "data.val_fraction": "val_split validation_split val_ratio val_size val_share valid_ratio "
    "validation_fraction val_percent split test_split",
    "data.num_folds": "folds k_folds kfold n_splits cv",
    "data.frame": "gif_frame frames",
    "data.normalize": "normalise normalization standardize standardise mean std",
    "data.source": "synthetic generated generator",
    "data.count": "num_samples num_images n_samples",
    "augment.rotate": "rotation degrees angle",
    "augment.scale": "zoom resize_range",
    "augment.shift": "translate translation jitter",
    "augment.shear": "slant skew",
    "augment.brightness": "gamma light",
    "model.conv_features": "filters conv_filters cnn_channels num_filters conv_channels",
    "model.pool": "pooling pool_size strides",
    "model.lstm_units": "hidden hidden_size hidden_dim rnn_units rnn_size rnn_hidden units nh "
    "lstm_hidden num_units lstm_size",
    "model.dense_features": "dense_units fc_units fc_size map_to_seq_hidden embedding_size",
    "model.dropout": "dropout_rate drop_rate drop_prob drop",
    "model.lstm_dropout": "rnn_dropout recurrent_dropout",
    "model.cell": "rnn rnn_type cell_type gru lstm",
    "model.norm": "batch_norm batchnorm layer_norm layernorm bn",
    "optimizer.name": "optimizer optim optimiser optimizer_name solver",
    "optimizer.learning_rate": "lr base_lr init_lr initial_lr max_lr peak_lr step_size eta alpha "
    "learn_rate",
    "optimizer.momentum": "beta1 beta_1 beta",
    "optimizer.clip_norm": "grad_clip clip_grad gradient_clip clipnorm clip max_norm max_grad_norm "
    "gradient_clip_val grad_norm clipping",
    "optimizer.warmup_steps": "warmup num_warmup_steps warm_up warmup_iters",
    "optimizer.schedule": "scheduler lr_scheduler lr_schedule decay lr_decay lr_policy",
    "train.batch_size": "batch bs batchsize train_batch_size per_device_train_batch_size",
    "train.epochs": "num_epochs n_epochs nepochs max_epochs nepoch epoch iterations max_steps "
    "num_train_epochs total_epochs num_steps",
    "train.eval_batch_size": "val_batch_size test_batch_size valid_batch_size",
    "train.init_from": "pretrained checkpoint ckpt resume finetune fine_tune weights_path "
    "load_from init_checkpoint from_pretrained restore warm_start saved_model",
    "train.patience": "early_stopping early_stop early_stopping_patience",
    "train.ema_decay": "ema moving_average",
    "train.checkpoint_selection": "save_best save_best_only best_model",
    "log.every_steps": "log_every log_interval logging_steps display_interval print_every verbose",
    "log.trackers": "tb summary log_dir tensorboard wandb mlflow trackio tracker logger report_to",
}
_BY_NAME = {
    re.sub("_", "", name): key for key, names in _SYNONYMS.items() for name in names.split()
}


def nearest(key: str, known: Sequence[str]) -> str:
    """Returns the known key that was probably meant by `key`; an empty string if there is none."""
    key = key[:100]
    last = _plain(key.rpartition(".")[2])
    # The right name in the wrong section is as likely as a misspelled one.
    for candidate in known:
        if _plain(candidate.rpartition(".")[2]) == last:
            return candidate
    meant = _BY_NAME.get(last) or _BY_NAME.get(_plain(key))
    if meant in known:
        return str(meant)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    if not near and (names := difflib.get_close_matches(last, _BY_NAME, n=1, cutoff=0.8)):
        near = [_BY_NAME[names[0]]]
    near = near or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return near[0] if near else ""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())

"""The default recipe. Every key of the configuration stands here.

    python run.py --config experiments/base.py

Three minutes on one core of an AMD EPYC, beside another run on the other. Ten-fold
cross-validation, seeds 0 and 1: 932 and 931 of 936 pictures of captcha_images_v2 read by models
that never saw them (results/cross_validation/, commit 2945ae3). All of seeds 0 to 19 leave the
plateau by epoch 3, on that set and on lowercase_4to5 (results/plateau/).

Exact match less that of what experiments/ablations.py changes, in points, three seeds of fold 0 of
captcha_images_v2 (and two of lowercase_4to5): no flat start +98.2 (+2.9), no clipping +98.2, each
variable clipped by itself +21.6, no dropout -0.7 (+1.5), no augmentation -0.4 (+1.5), no averaging
-0.4 (0), Adam 0 (+0.5), no Nesterov -0.4; one picture of the first set is 0.35 points of its 282
readings (results/ablations/, commit 2945ae3).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            # Root of the streams init, order, dropout and augment; the split has its own below.
            "seed": 0,
            "data": {
                # 'folder' reads data.dir, 'synthetic' makes a set of generated pictures, 'stream'
                # new ones for every epoch, 'mixture' adds generated pictures to the training part
                # of the folder. 'auto' is the folder, or where the default one is not on this
                # machine (python -m crnn_jax fetch), a generated set of its size and alphabet.
                "source": "auto",
                # A folder of images named by their text (226md.png, 226md_2.png) or
                # with a labels.csv (file,label).
                "dir": "data/captcha_images_v2",
                # How generated pictures look: a name of data/synthetic/presets.py or a .json file.
                "style": "captcha_v2",
                # Generated pictures of a set, or of an epoch of a stream, validation included.
                "count": 1040,
                # Picture i of a seed is the same for ever.
                "synthetic_seed": 0,
                # Share of generated pictures in the training part of a mixture.
                "generated_share": 0.5,
                # Pictures are resized to this, in pixels.
                "width": 200,
                "height": 50,
                # 1 grey, 3 colour.
                "channels": 1,
                # '' takes the sorted characters of the labels.
                "alphabet": "",
                # (pixel - mean) / deviation: of the training 'set', or of each 'picture' by itself.
                # 'auto' is by picture where they differ in light or contrast by more than a
                # tenth, else by set. '' is pixel / 255.
                "standardise": "auto",
                # The validation part is this share of the images ...
                "val_fraction": 0.1,
                "split_seed": 0,
                # ... or, with num_folds >= 2, fold number `fold` of that many.
                "num_folds": 0,
                "fold": 0,
                # Images to train on, the first of the shuffled training part; 0 takes all.
                "train_size": 0,
            },
            # Random distortions of training pictures; each strength ends the range that a
            # picture's own draw comes from, and 0 turns it off.
            "augment": {
                # Share of the height, both ways.
                "shift": 0.05,
                # Degrees.
                "rotate": 3.0,
                # Share of the size, each axis by itself.
                "scale": 0.08,
                # Offset along the width for each height.
                "shear": 0.1,
                # Amplitude of a sine warp, share of the height.
                "ripple": 0.0,
                # 1 lets dark strokes grow or shrink by a pixel on each side.
                "thickness": 0.0,
                # Up to so many straight lines across.
                "lines": 0,
                # 1 is a mean over 3x3 pixels.
                "blur": 0.0,
                # Share of the deviation from the picture's mean.
                "contrast": 0.0,
                # Share of the range from black to white.
                "brightness": 0.0,
                # Deviation of Gaussian noise, share of the range from black to white.
                "noise": 0.0,
            },
            "model": {
                # One 3x3 convolution, ReLU and 2x2 max-pooling for each entry.
                "conv_features": (32, 64),
                "dense_features": 64,
                # One bidirectional LSTM for each entry, units of one direction.
                "lstm_units": (128, 64),
                # Dropout after the dense layer, and on each LSTM's input.
                "dropout": 0.2,
                "lstm_dropout": 0.25,
                # 'layer': a layer norm after each convolution; changes the count of parameters.
                "norm": "",
                # 'lstm', or 'gru', which changes the count too.
                "cell": "lstm",
            },
            "optimizer": {
                # 'sgd', or 'adam', whose first decay the momentum is then.
                "name": "sgd",
                # The peak of the schedule.
                "learning_rate": 0.04,
                "momentum": 0.9,
                "nesterov": True,
                # Gradients of a larger global norm are scaled down to it; 0 turns it off.
                "clip_norm": 5.0,
                # Take the norm of each variable by itself instead.
                "clip_each": False,
                # Steps of linear rise to the peak, at most half of the run.
                "warmup_steps": 100,
                # After that: 'cosine' falls to 0 at the last epoch, 'constant' stays.
                "schedule": "cosine",
            },
            "loss": {
                # Weigh a picture's loss by one over the length of its label.
                "by_length": False,
                # Weight of the entropy of the outputs, which is rewarded.
                "entropy": 0.0,
            },
            "flat_start": {
                # At first the objective is not CTC but a frame-wise cross-entropy against a
                # segmentation of the label by ink, on pictures as they are and without dropout:
                # it leads past the plateau of the constant predictor. It falls away once its
                # loss is below this share of an even guess's. 0 turns the flat start off.
                "until": 0.85,
                # ... or after this many steps, or a third of the run, at the latest,
                "max_steps": 500,
                # and hands over to CTC by a factor of 1 - 1 / fade_steps at each step. Augmentation
                # and dropout begin when less than a hundredth is left.
                "fade_steps": 20,
                # Share of the ink at either end that is taken for something else than text.
                "trim": 0.02,
            },
            "train": {
                "batch_size": 16,
                "epochs": 24,
                # End after this many epochs of a schedule that is laid out for `epochs`, to see
                # how runs begin; 0 goes to the end.
                "stop_after": 0,
                # Start from the best weights of this run directory instead of fresh ones, and
                # without a flat start. Symbols are matched; '' starts afresh.
                "init_from": "",
                # Stop after this many epochs without a better validation loss, counted only
                # after the run has left the constant predictor's plateau; 0 never stops early.
                "patience": 10,
                # The weights that are kept and scored: of the epoch of least validation loss,
                # 'best', or of the last one, 'last', so that the validation part has no say.
                "weights": "best",
                # The weights that are kept are an exponential moving average over the updates,
                # each old one counting this much of the next, and less at first: no more than
                # (1 + s) / (25 + s) after s updates. 0 keeps the weights themselves.
                "average_decay": 0.98,
                "eval_batch_size": 64,
            },
            "log": {
                # Steps between two lines of metrics.jsonl (and checks that the loss is finite).
                "every_steps": 20,
                # Event files besides; needs tensorboardX.
                "tensorboard": False,
            },
        }
    )


def get_blind_config() -> ConfigDict:
    """The recipe with a validation part that has no say: no early stop, the last weights."""
    config = get_config()
    config.data.source = "folder"
    config.data.num_folds = 10
    config.train.weights = "last"
    config.train.patience = 0
    return config

from crnn_jax.training.early_stopping import Stopping


def test_best_is_the_least_loss_and_patience_waits_for_the_plateau_s_end() -> None:
    stopping = Stopping()
    seen = []
    # The plateau is at 16; the loss is below 12 from epoch 5 on. Epoch 6 is the best.
    for epoch, loss in enumerate([20, 16, 16.1, 16.2, 11, 3, 4, 3.5, 3.2], 1):
        stopping = stopping.update(epoch, loss, plateau_loss=16)
        seen.append((stopping.best_epoch, stopping.left_plateau, stopping.is_over(epoch, 2)))
    assert seen == [
        (1, 0, False),
        (2, 0, False),
        (2, 0, False),
        (2, 0, False),  # two epochs without improvement, but on the plateau
        (5, 5, False),
        (6, 5, False),
        (6, 5, False),
        (6, 5, True),
        (6, 5, True),
    ]
    assert not stopping.is_over(1000, patience=0)


def test_an_equal_loss_is_not_better_so_that_a_flat_loss_ends_the_patience() -> None:
    stopping = Stopping()
    for epoch, is_over in enumerate([False, False, True], 1):
        stopping = stopping.update(epoch, 3, plateau_loss=16)
        assert stopping.best_epoch == 1
        assert stopping.is_over(epoch, patience=2) == is_over


def test_last_weights_give_the_validation_part_no_say() -> None:
    stopping = Stopping()
    for epoch, loss in enumerate([5, 3, 4, 9], 1):
        stopping = stopping.update(epoch, loss, plateau_loss=16, checkpoint_selection="last")
        assert stopping.best_epoch == epoch
        assert not stopping.is_over(epoch, patience=1)

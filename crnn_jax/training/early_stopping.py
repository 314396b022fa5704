"""Early stopping: the best epoch so far, and whether to stop waiting for a better one."""

from __future__ import annotations

import math
from typing import NamedTuple

# The plateau ends when the loss is below this share of the best constant predictor's loss: about 12
# of 16.4 for five characters.
OFF_PLATEAU = 0.75


class Stopping(NamedTuple):
    """The state of early stopping, updated after each epoch."""

    best_epoch: int = 0
    best_loss: float = math.inf  # validation loss
    left_plateau: int = 0  # the epoch; 0 while still on the plateau

    def update(
        self, epoch: int, val_loss: float, plateau_loss: float, checkpoint_selection: str = "best"
    ) -> Stopping:
        """Returns the state after `epoch`. With the selection 'last' every epoch counts as best."""
        left = self.left_plateau or (epoch if val_loss < OFF_PLATEAU * plateau_loss else 0)
        if val_loss < self.best_loss or checkpoint_selection == "last":
            return Stopping(epoch, val_loss, left)
        return self._replace(left_plateau=left)

    def is_over(self, epoch: int, patience: int) -> bool:
        """Whether to stop. Patience counts from the best epoch, but not before the plateau ends."""
        # The best epoch is never before the plateau's end, whose loss is below all earlier ones.
        return bool(patience and self.left_plateau and epoch - self.best_epoch >= patience)

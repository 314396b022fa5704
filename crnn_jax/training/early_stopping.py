"""Early stopping: which epoch was best, and when to wait no longer for a better one."""

from __future__ import annotations

import math
from typing import NamedTuple

# The plateau is left at this share of the best constant predictor's loss: about 12 of 16.4
# for five characters.
OFF_PLATEAU = 0.75


class Stopping(NamedTuple):
    """What has to be remembered from epoch to epoch."""

    best_epoch: int = 0
    best_loss: float = math.inf  # of the validation part
    left_plateau: int = 0  # epoch; 0 while still on it

    def update(
        self, epoch: int, val_loss: float, plateau_loss: float, checkpoint_selection: str = "best"
    ) -> Stopping:
        """With the selection 'last' every epoch replaces the one before it, whatever its loss."""
        left = self.left_plateau or (epoch if val_loss < OFF_PLATEAU * plateau_loss else 0)
        if val_loss < self.best_loss or checkpoint_selection == "last":
            return Stopping(epoch, val_loss, left)
        return self._replace(left_plateau=left)

    def is_over(self, epoch: int, patience: int) -> bool:
        """Patience counts from the best epoch, and not before the plateau was left."""
        waited = epoch - max(self.best_epoch, self.left_plateau)
        return bool(patience and self.left_plateau and waited >= patience)

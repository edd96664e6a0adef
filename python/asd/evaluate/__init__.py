"""How good a detector is: AUC, pAUC, and their means over sections and machines."""

from asd.evaluate.metrics import auc, pauc

__all__ = ["auc", "pauc"]

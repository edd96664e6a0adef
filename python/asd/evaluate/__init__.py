"""How good a detector is: AUC, pAUC, decisions, and their means over sections and machines, with intervals."""

from asd.evaluate.metrics import PrecisionRecall, auc, pauc, precision_recall_f1

__all__ = ["PrecisionRecall", "auc", "pauc", "precision_recall_f1"]

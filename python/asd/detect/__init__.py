"""From embedding to score to decision: scorers, thresholds, and the detector that holds them as one thing."""

DEFAULT_SCORER = "fused:ensemble"
"""What decides where there is a network and the settings name no scorer; see `asd.detect.scorers.choose_scorer`."""

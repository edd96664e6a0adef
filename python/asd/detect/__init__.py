"""From embedding to score to decision: scorers, thresholds, and the detector that holds them as one thing."""

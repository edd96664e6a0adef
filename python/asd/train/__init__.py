"""Making detectors: from normal recordings to statistics, thresholds and a run folder."""

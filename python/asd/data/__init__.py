"""Recordings on disk: which there are, whether they are sound, and synthetic ones to begin with."""

"""Data sets of the challenges, from Zenodo to folders that the catalog reads."""

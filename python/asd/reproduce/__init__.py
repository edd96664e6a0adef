"""A paper's whole table: every machine, method and seed, trained, scored, and put beside what was published."""

"""How fast the front end is on this machine: generated recordings, jobs, and a clock that runs them in turn."""

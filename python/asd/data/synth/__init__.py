"""Synthetic machines: recordings in the layouts of DCASE, made of physics, with faults that engineers know.

room.py       spectra, resonances, reflections, the noise of a hall
machines.py   what turns, meshes, flows and strikes in a fan, pump, slider, valve, gearbox
faults.py     what goes wrong with them; `mix_fault` does it to any recording
clip.py       one clip from its name and a seed
dataset.py    a folder of clips, in the layout of 2020 or 2022
"""

from __future__ import annotations

from asd.data.synth.dataset import DEFAULT_MACHINES, Summary, is_synthetic, write_dataset
from asd.data.synth.faults import FAULTS, mix_fault
from asd.data.synth.machines import MACHINES

__all__ = ["DEFAULT_MACHINES", "FAULTS", "MACHINES", "Summary", "is_synthetic", "mix_fault", "write_dataset"]

"""The topology of convolutional networks: train populations, compute their spatial filters, find their shape.

Each module is imported by its own name (``from topo import density``); this one must stay free of imports,
so that the command line answers at once. Chapters and workers run in other folders and inherit the environment, so
relative paths in it are made absolute here, where they still mean what the user meant.
"""

import os
import sys

if not (3, 10) <= sys.version_info[:2] < (3, 13):
    sys.exit(f"topo needs Python 3.10, 3.11 or 3.12; this is Python {sys.version.split()[0]}.")

for _name in ("TOPO_DATA", "TOPO_CHECKPOINTS"):
    if os.environ.get(_name):
        os.environ[_name] = os.path.abspath(os.path.expanduser(os.environ[_name]))

__version__ = "0.1.0"

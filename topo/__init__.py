"""The topology of convolutional networks: train populations, compute their spatial filters, find their shape.

Each module is imported by its own name (``from topo import density``); this one must stay free of imports,
so that the command line answers at once.
"""

import sys

if not (3, 10) <= sys.version_info[:2] < (3, 13):
    sys.exit(f"topo needs Python 3.10, 3.11 or 3.12; this is Python {sys.version.split()[0]}.")

__version__ = "0.1.0"

"""The topology of convolutional networks: train populations, compute their spatial filters, find their shape.

Each module is imported by its own name (``from topo import density``); this one must stay free of imports,
so that the command line answers at once. It puts the environment in order, which chapters and workers inherit: relative
folders are made absolute while they still mean what the user meant, and where no home folder can be written to, the
libraries' caches go to a temporary one.
"""

import os
import sys

if not (3, 10) <= sys.version_info[:2] < (3, 13):
    sys.exit(f"topo needs Python 3.10, 3.11 or 3.12; this is Python {sys.version.split()[0]}.")

for _name in ("TOPO_DATA", "TOPO_CHECKPOINTS"):
    if os.environ.get(_name):
        os.environ[_name] = os.path.abspath(os.path.expanduser(os.environ[_name]))


def _temporary_folder() -> str:
    """A folder that is found again, and that nobody else can write to, because numba runs what is in its cache."""
    import tempfile

    folder = os.path.join(tempfile.gettempdir(), f"topo-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    about = os.lstat(folder)
    ours = about.st_uid == os.getuid() and about.st_mode == 0o040700
    return folder if ours else tempfile.mkdtemp(prefix="topo-")


if not os.access(os.path.expanduser("~"), os.W_OK | os.X_OK):
    for _name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "IPYTHONDIR"):
        if _name not in os.environ:
            os.environ[_name] = os.path.join(_temporary_folder(), _name.lower())
            os.makedirs(os.environ[_name], exist_ok=True)

__version__ = "0.1.0"

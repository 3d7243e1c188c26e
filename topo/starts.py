"""Filters that the first layer of a network may begin with, instead of independent weights.

Knows model spaces and archives; must not know how a network is trained.
"""

import numpy as np
from jaxtyping import Float32

from topo import archive
from topo.filters import normalize

STARTS = ("random", "primary circle", "Klein bottle")
_RANDOM = 2**14


def starting_filters(name: str) -> Float32[np.ndarray, "filters 9"]:
    """The filters from which a first layer draws those that it begins with, centred and of unit norm.

    name: "random", filters of independent normal weights; "primary circle", edges at 720 angles; "Klein bottle", the
    7,200 patches of its grid; or the name of an archive, the filters of its first layers at their last iteration.
    Raises ValueError for another name, and as `topo.archive.load` does.
    """
    from topo import spaces  # SciPy's trees, which few trainings need

    if name == "random":
        patches = np.random.default_rng(0).standard_normal((_RANDOM, 9))
    elif name == "primary circle":
        patches = spaces.circles()["primary"]
    elif name == "Klein bottle":
        patches = spaces.klein_bottle_grid()
    elif name in archive.manifest():
        patches = archive.load(name).filters(1)
    else:
        raise ValueError(f"first = {name!r} is not one of {', '.join(STARTS)}, nor the name of an archive")
    return normalize(patches).astype(np.float32)

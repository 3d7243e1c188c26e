"""The types that annotations share: numbers, and arrays with the names of their axes.

Knows NumPy and jaxtyping; must not import another module of topo.
"""

# jaxtyping gives an axis the same length wherever its name occurs in one signature. A name that begins with an
# underscore may have another length each time, as the points of each cloud in a list.
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jaxtyping
import numpy as np
from jaxtyping import Float, Integer

if TYPE_CHECKING:
    from typing import Annotated as Real  # what a type checker takes jaxtyping's own types for
else:

    class Real(jaxtyping.AbstractDtype):
        """Integers and floats: those of jaxtyping's Real, and NumPy's long double."""

        dtypes = [*jaxtyping.Real.dtypes, "longdouble"]


Whole = int | np.integer
Number = float | int | np.floating | np.integer
PaperScale = tuple[Whole, Whole] | tuple[Whole, Whole, Number]  # networks, iterations and accuracy in percent
Seed = Whole | np.random.Generator  # what numpy.random.default_rng takes

Row = Sequence[Number] | Real[np.ndarray, "_values"]  # numbers along one axis
Rows = Integer[np.ndarray, "rows"] | Sequence[Whole]  # the numbers of some rows of an array, from 0
Points = Float[np.ndarray, "points dim"]
PointsLike = Real[np.ndarray, "points dim"] | Sequence[Row]  # what topo.checks.as_points takes
Clouds = Sequence[Float[np.ndarray, "_points dim"]]
CloudsLike = Real[np.ndarray, "networks _points dim"] | Sequence[Real[np.ndarray, "_points dim"] | Sequence[Row]]
Kernels = Mapping[int, Mapping[int, Float[np.ndarray, "_networks _height _width _inputs _outputs"]]]  # layer, iteration
Barcode = dict[int, Float[np.ndarray, "_bars 2"]]  # births and deaths by dimension

"""What every function that takes a point cloud does with clouds that are odd, wrong or large."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from topo import density, filters, mapper, persistence

POINTS = np.random.default_rng(0).normal(size=(60, 4))
GRAPH = mapper.mapper_graph(POINTS, 4, 2)
FUNCTIONS = {
    "normalize": filters.normalize,
    "kth_neighbor_distance": partial(density.kth_neighbor_distance, k=3),
    "densest": partial(density.densest, k=3, p=0.5),
    "densest_indices": partial(density.densest_indices, k=3, p=0.5),
    "maxmin_landmarks": partial(persistence.maxmin_landmarks, n_landmarks=5),
    "lazy_witness_times": partial(persistence.lazy_witness_times, landmarks=[0, 3, 5]),
    "lazy_witness_barcode": partial(persistence.lazy_witness_barcode, landmarks=5),
    "LazyWitnessPersistence": lambda points: persistence.LazyWitnessPersistence(5).fit_transform([points]),
    "mapper_graph": partial(mapper.mapper_graph, resolution=4, gain=2),
    "mapper_pipeline": lambda points: mapper.mapper_pipeline(4, 2).fit_transform(points),
    "merge_heights": mapper.merge_heights,
    "linkage_threshold": mapper.linkage_threshold,
    "VarianceNormalizer": lambda points: mapper.VarianceNormalizer().fit_transform(points),
    "Lens": lambda points: mapper.Lens().fit_transform(points),
    "SingleLinkage": lambda points: mapper.SingleLinkage().fit_transform([points, np.ones((60, 1), bool)]),
    "node_means": partial(mapper.node_means, GRAPH),
}
WRONG = {
    "NaN": (np.where(POINTS == POINTS[3, 1], np.nan, POINTS), ValueError, "finite; 1 entries"),
    "infinity": (np.where(POINTS == POINTS[3, 1], -np.inf, POINTS), ValueError, "finite; 1 entries"),
    "one axis": (POINTS[:, 0], ValueError, r"shape \(n, d\)|shape \(60,\)"),
    "three axes": (POINTS[None], ValueError, r"shape \(n, d\)"),
    "no point": (POINTS[:0], ValueError, "no axis empty"),
    "no coordinate": (POINTS[:, :0], ValueError, "no axis empty"),
    "text": ("points", TypeError, "array of real numbers"),
    "words": ([["a", "b"], ["c", "d"]], TypeError, "array of real numbers"),
    "None": (None, TypeError, "array of real numbers"),
    "objects": (POINTS.astype(object), TypeError, "array of real numbers"),
    "complex numbers": (POINTS + 1j, TypeError, "array of real numbers"),
    "rows of different lengths": ([[1.0, 2.0], [3.0]], TypeError, "array of (real )?numbers"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_point_cloud_is_refused_in_one_line(name, kind):
    points, error, words = WRONG[kind]
    with refused(error, match=words) as caught:
        FUNCTIONS[name](points)
    assert str(caught.value).count("\n") == 0


def flat(result):
    """A result as a list of arrays that can be compared."""
    if isinstance(result, dict):
        return [result[key] for key in sorted(result)]
    if isinstance(result, mapper.RefinedCover):
        return result.elements
    if hasattr(result, "vs"):
        return [*result.vs["node_elements"], np.array(result.get_edgelist())]
    return [np.asarray(result)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_numbers_in_any_layout_give_the_result_of_their_values(name):
    whole = np.random.default_rng(1).integers(-20, 21, (60, 4))
    expected = flat(FUNCTIONS[name](whole.astype(np.float64)))
    wide = np.zeros((120, 8))
    wide[::2, ::2] = whole
    read_only = whole.astype(np.float64)
    read_only.flags.writeable = False
    given = {
        "int8": whole.astype(np.int8), "float16": whole.astype(np.float16), "float32": whole.astype(np.float32),
        "lists": whole.tolist(), "columns first": np.asfortranarray(whole, np.float64),
        "strided": wide[::2, ::2], "read-only": read_only,
        "other byte order": whole.astype(">f8"), "long double": whole.astype(np.longdouble),
    }  # fmt: skip
    for kind, points in given.items():
        result = flat(FUNCTIONS[name](points))
        assert len(result) == len(expected), kind
        for left, right in zip(result, expected):
            np.testing.assert_allclose(left, right, rtol=2e-6, atol=2e-6, err_msg=kind)


TOO_LARGE = """
import sys
import numpy as np
from benchmarks import peak_memory
from topo import density, mapper, persistence
points = np.random.default_rng(0).normal(size=(60_000, 5)).astype(np.float32)
call = {
    "density": lambda points: density.densest(points, 20, 0.5),
    "heights": mapper.merge_heights,
    "mapper": lambda points: mapper.mapper_graph(points, 30, 3),
    "barcode": lambda points: persistence.lazy_witness_barcode(points, 50, max_dimension=2),
}[sys.argv[1]]
call(points[:1000])
before = peak_memory()
call(points)
print(peak_memory() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of this process's memory from Linux")
@pytest.mark.parametrize("kernel, most", [("density", 100), ("heights", 100), ("mapper", 200), ("barcode", 100)])
def test_nothing_as_large_as_all_pairs_is_ever_held(kernel, most):
    """A bit for each pair of these points would be 450 MB, a byte 3.6 GB."""
    grown = subprocess.run([sys.executable, "-c", TOO_LARGE, kernel], check=True, capture_output=True, text=True).stdout
    assert int(grown) < most * 1e6

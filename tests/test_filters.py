import tracemalloc

import numpy as np
import pytest
from conftest import refused

from topo import filters as filters_module
from topo.checks import as_points
from topo.filters import normalize, spatial_filters

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(3, 3, 1, 4), (3, 3, 5, 2), (2, 4, 3, 3), (1, 1, 2, 2)])
def test_spatial_filters_are_the_slices_of_the_kernel(shape):
    kernel = GENERATOR.normal(size=shape)
    height, width, inputs, outputs = shape
    filters = spatial_filters(kernel)
    assert filters.shape == (inputs * outputs, height * width)
    for i in range(inputs):
        for o in range(outputs):
            for row in range(height):
                for column in range(width):
                    assert filters[i * outputs + o, row * width + column] == kernel[row, column, i, o]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_spatial_filters_keep_the_dtype_and_take_any_layout(dtype):
    kernel = (10 * GENERATOR.normal(size=(3, 3, 4, 6))).astype(dtype)
    strided = np.asfortranarray(kernel)
    assert spatial_filters(kernel).dtype == dtype
    np.testing.assert_array_equal(spatial_filters(strided), spatial_filters(kernel))


@pytest.mark.parametrize("dtype, tolerance", [(np.float16, 1e-6), (np.float32, 1e-6), (np.float64, 1e-14)])
def test_normalize_centres_and_scales_each_row_by_itself(dtype, tolerance):
    points = GENERATOR.normal(3, 2, size=(50, 9)).astype(dtype)
    result = normalize(points)
    centred = points.astype(float) - points.astype(float).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(result, centred / np.linalg.norm(centred, axis=1, keepdims=True), atol=tolerance)
    assert result.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_allclose(normalize(result), result, atol=tolerance)
    np.testing.assert_allclose(normalize(5 * result + 2), result, atol=10 * tolerance)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 1e4])
def test_normalize_drops_rows_that_are_constant_up_to_rounding(dtype, value):
    constant = np.full(9, value, dtype)
    one_step_off = constant.copy()
    one_step_off[4] = np.nextafter(constant[4], dtype(np.inf)) if value else 0
    varied = constant.copy()
    varied[4] = dtype(value * (1 + 20 * np.finfo(dtype).eps) if value else 1)
    result = normalize(np.stack([constant, varied, one_step_off]))
    assert len(result) == 1
    assert result[0].argmax() == 4 if value >= 0 else result[0].argmin() == 4


def test_normalize_finds_the_smallest_contrast_as_it_is():
    steps = -(np.arange(9.0)[None] ** 2)
    np.testing.assert_allclose(normalize(1 + 2.0**-45 * steps), normalize(steps), atol=1e-12)  # no sum is rounded


def test_normalize_leaves_no_row_where_none_has_contrast():
    assert normalize(np.ones((4, 9), np.float32)).shape == (0, 9)
    assert normalize(np.arange(4.0)[:, None]).shape == (0, 1)


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e170, 1e300])
def test_normalize_neither_underflows_nor_overflows(scale):
    points = GENERATOR.normal(size=(20, 9))
    np.testing.assert_allclose(normalize(points * scale), normalize(points), atol=1e-12)


def test_normalize_takes_each_row_by_itself_whatever_the_others_are():
    rows = GENERATOR.normal(size=(2000, 9)) * 10.0 ** GENERATOR.integers(-300, 300, (2000, 1))
    rows[3] = 1 + np.eye(9)[4] * 20 * np.finfo(float).eps  # hardly any contrast
    np.testing.assert_array_equal(normalize(rows), np.concatenate([normalize(row[None]) for row in rows]))


def test_normalize_is_the_same_in_blocks_and_needs_little_memory(monkeypatch):
    points = GENERATOR.normal(size=(2**20, 9)).astype(np.float32)
    points[::7] = 1
    tracemalloc.start()
    whole = normalize(points)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(whole) == len(points) - len(points[::7]) and peak < 4 * points.nbytes
    monkeypatch.setattr(filters_module, "_NUMBERS", 9000)
    np.testing.assert_array_equal(normalize(points), whole)


def test_normalize_leaves_its_input_alone():
    points = GENERATOR.normal(size=(20, 9))
    before = points.copy()
    normalize(points)
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize(
    "given, kept", [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), (">f4", "f4"), ("i4", "f8"), ("u1", "f8")]
)
def test_as_points_converts(given, kept):
    points = as_points(np.arange(24).reshape(4, 6).astype(given)[::2, ::-1])
    assert points.dtype == np.dtype(kept)
    assert points.flags.c_contiguous
    np.testing.assert_array_equal(points, np.arange(24).reshape(4, 6)[::2, ::-1])


def test_as_points_takes_nested_lists():
    assert as_points([[1, 2], [3, 4]]).dtype == np.float64


@pytest.mark.parametrize(
    "points, error, message",
    [
        (np.zeros(3), ValueError, r"shape \(n, d\).*\(3,\)"),
        (np.zeros((2, 3, 4)), ValueError, r"\(2, 3, 4\)"),
        (np.zeros((0, 9)), ValueError, r"\(0, 9\)"),
        (np.zeros((9, 0)), ValueError, r"\(9, 0\)"),
        ([[0.0, np.nan], [np.inf, 1.0]], ValueError, "2 entries are NaN or infinite"),
        ([["a", "b"]], TypeError, "real numbers"),
        (np.ones((2, 2), complex), TypeError, "complex128"),
        (np.ones((2, 2), bool), TypeError, "bool"),
        ([[1, 2], [3]], TypeError, "array of numbers"),
        (object(), TypeError, "object"),
        (None, TypeError, "NoneType"),
    ],
)
@pytest.mark.parametrize("function", [as_points, normalize])
def test_bad_points_get_one_clear_error(function, points, error, message):
    with refused(error, match=message) as caught:
        function(points)
    assert str(caught.value).startswith("points must ")


@pytest.mark.parametrize(
    "kernel, error, message",
    [
        (np.zeros((3, 3)), ValueError, r"kernel must have shape \(h, w, in, out\) with no axis empty, not \(3, 3\)"),
        (np.full((3, 3, 1, 1), np.nan), ValueError, "kernel must be finite; 9 entries"),
        ("k", TypeError, "kernel must be an array of real numbers"),
    ],
)
def test_bad_kernels_get_one_clear_error(kernel, error, message):
    with refused(error, match=f"^{message}"):
        spatial_filters(kernel)

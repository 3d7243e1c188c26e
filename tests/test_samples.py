"""Which rows a sample has, and how samples are written and read."""

import numpy as np
import pytest

from topo import samples
from topo.samples import chosen


def test_a_sample_is_in_order_without_repetition_and_the_same_each_time():
    rows = chosen(262_144, 20_000)
    assert len(set(rows)) == 20_000 and (np.diff(rows) > 0).all() and 0 <= rows[0] and rows[-1] < 262_144
    np.testing.assert_array_equal(rows, chosen(262_144, 20_000))
    quarters = np.bincount(rows // 65_536)
    assert len(quarters) == 4 and abs(quarters - 5000).max() < 300


@pytest.mark.parametrize("count", [5, 20_000, 20_001])
def test_all_rows_are_chosen_where_there_are_no_more(count):
    for most in (None, count, 10**6):
        np.testing.assert_array_equal(chosen(count, most), np.arange(count))


def test_a_smaller_sample_is_drawn_out_of_that_of_20_000():
    whole, held = np.random.default_rng(1).normal(size=(50_000, 2)), chosen(50_000, 20_000)
    for most in (1, 300, 19_999):
        np.testing.assert_array_equal(whole[chosen(50_000, most)], whole[held][chosen(20_000, most)])
    assert len(chosen(50_000, 30_000)) == 30_000


TABLES = {"b": np.linspace(-1, 1, 12).reshape(4, 3), "a": np.ones((2, 5))}
DESCRIPTION = {"licence": "none", "parts": {"b": {"rows": 4}, "a": {"rows": 2}}}


def test_a_sample_is_read_as_it_was_written_with_the_same_bytes_each_time(tmp_path):
    path = samples.write("some", TABLES, DESCRIPTION, tmp_path)
    before = path.read_bytes()
    assert samples.write("some", TABLES, DESCRIPTION, tmp_path).read_bytes() == before
    sample = samples.load("some", tmp_path)
    assert sample.parts == ["b", "a"] and sample.path == path and sample.description["licence"] == "none"
    np.testing.assert_array_equal(sample.rows("b"), TABLES["b"].astype(np.float16))
    assert sample.rows("a").dtype == np.float32
    with pytest.raises(ValueError, match="no part 'c'; it has: b, a"):
        sample.rows("c")


def test_what_float16_cannot_hold_and_what_is_not_the_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="sample huge: a is not finite in float16"), np.errstate(over="ignore"):
        samples.write("huge", {"a": np.full((2, 2), 1e9)}, {"parts": {"a": {}}}, tmp_path)
    assert not list(tmp_path.iterdir())
    path = samples.write("some", TABLES, DESCRIPTION, tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="sample 'some'.*not the file that the manifest describes"):
        samples.load("some", tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="is missing; `.venv/bin/python -m topo data sample` makes it anew"):
        samples.load("some", tmp_path)


def test_the_samples_fit_their_budget():
    here = [path for path in samples.FOLDER.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in here) <= 8 * 2**20

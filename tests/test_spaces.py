import numpy as np
import pytest
from conftest import refused

from topo import datasets, filters, spaces
from topo.spaces import (
    dct_basis,
    distance_to,
    from_dct,
    klein_bottle,
    primary_angle,
    primary_circle,
    primary_distance,
    primary_energy,
    secondary_circles,
    three_circles,
    to_dct,
)

CORES = ("X(300,30)", "X(15,30)")
ANGLES = np.linspace(0, 2 * np.pi, 72, endpoint=False)  # contains every multiple of 5 degrees
PATCHES = np.random.default_rng(0).normal(size=(50, 9))


def assert_centred_and_unit(patches):
    np.testing.assert_allclose(patches.mean(axis=-1), 0, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(patches, axis=-1), 1, atol=1e-14)


# --- Model spaces -------------------------------------------------------------------------------------------


def test_klein_bottle_is_the_polynomial_at_the_nine_points():
    for theta, phi in [(0.3, 1.1), (2.0, -0.4), (-1.2, 2.5)]:
        linear = np.zeros(9)
        for row, y in enumerate((-1, 0, 1)):
            for column, x in enumerate((-1, 0, 1)):
                linear[3 * row + column] = np.cos(theta) * x + np.sin(theta) * y
        quadratic = linear**2 - (linear**2).mean()
        patch = np.cos(phi) * quadratic / np.linalg.norm(quadratic) + np.sin(phi) * linear / np.linalg.norm(linear)
        np.testing.assert_allclose(klein_bottle(theta, phi), patch, atol=1e-14)


def test_klein_bottle_is_glued_as_a_klein_bottle():
    theta, phi = np.meshgrid(ANGLES, ANGLES)
    patches = klein_bottle(theta, phi)
    assert patches.shape == (72, 72, 9)
    assert_centred_and_unit(patches)
    np.testing.assert_allclose(klein_bottle(theta + np.pi, -phi), patches, atol=1e-14)
    np.testing.assert_allclose(klein_bottle(theta, phi + 2 * np.pi), patches, atol=1e-14)


def test_klein_bottle_has_no_other_identifications():
    theta, phi = np.meshgrid(ANGLES[:36], ANGLES)  # theta in [0, pi): each patch once
    patches = klein_bottle(theta, phi).reshape(-1, 9)
    similarity = patches @ patches.T
    np.fill_diagonal(similarity, -1)
    assert similarity.max() < 0.999


def test_primary_circle_is_rotating_edges():
    patches = primary_circle(ANGLES)
    assert patches.shape == (72, 9)
    assert_centred_and_unit(patches)
    np.testing.assert_allclose(patches[0] * np.sqrt(6), [-1, 0, 1] * 3, atol=1e-14)  # brighter to the right
    np.testing.assert_allclose(patches[18] * np.sqrt(6), [-1] * 3 + [0] * 3 + [1] * 3, atol=1e-14)  # and downwards
    np.testing.assert_allclose(primary_circle(ANGLES + np.pi), -patches, atol=1e-14)


def test_secondary_circles_join_lines_to_edges():
    vertical, horizontal = secondary_circles(ANGLES)
    assert_centred_and_unit(np.stack([vertical, horizontal]))
    np.testing.assert_allclose(vertical[0] * np.sqrt(18), [1, -2, 1] * 3, atol=1e-14)  # the same in every row
    rotated = vertical.reshape(-1, 3, 3).transpose(0, 2, 1).reshape(-1, 9)
    np.testing.assert_allclose(horizontal, rotated, atol=1e-14)


def test_each_secondary_circle_meets_the_primary_twice_and_not_the_other():
    primary = primary_circle(ANGLES)
    vertical, horizontal = secondary_circles(ANGLES)
    for circle, meetings in ((vertical, {0, 36}), (horizontal, {18, 54})):  # as rows of `primary`
        distances = np.linalg.norm(circle[:, None] - primary[None], axis=-1)
        on_circle, on_primary = np.nonzero(distances < 1e-7)
        assert set(on_circle) == {18, 54} and set(on_primary) == meetings
    assert distance_to(vertical, horizontal).min() > 1


def test_three_circles_holds_evenly_spaced_points_of_all_three():
    for n in (3, 10, 11, 300):
        assert three_circles(n).shape == (n, 9)
    points = three_circles(216)
    np.testing.assert_allclose(points[:72], primary_circle(ANGLES), atol=1e-14)
    np.testing.assert_allclose(points[72:144], secondary_circles(ANGLES)[0], atol=1e-14)
    np.testing.assert_allclose(points[144:], secondary_circles(ANGLES)[1], atol=1e-14)
    with pytest.raises(ValueError, match="n_points = 2"):
        three_circles(2)


def test_the_angle_on_a_circle_is_that_of_its_formula():
    circles = spaces.circles(24)
    vertical, horizontal = secondary_circles(ANGLES)
    for name, patches in (("primary", primary_circle(ANGLES)), ("vertical", vertical), ("horizontal", horizontal)):
        found = spaces.circle_angle(3 * patches, circles[name])
        np.testing.assert_allclose(np.exp(1j * found), np.exp(1j * ANGLES), atol=1e-12)
    np.testing.assert_allclose(spaces.circle_angle(PATCHES, circles["primary"]), primary_angle(PATCHES), atol=1e-12)
    with pytest.raises(ValueError, match="three steps or more, not 2"):
        spaces.circle_angle(PATCHES, circles["primary"][:2])


def test_shares_on_the_klein_bottle_are_those_of_the_nearest_patches():
    points = spaces.normalize(PATCHES)
    shares = spaces.klein_bottle_shares(points, 4, 0.8)
    expected = np.zeros((8, 4))
    for point in points:
        apart = [
            [np.linalg.norm(point - klein_bottle(j * np.pi / 4, i * np.pi / 4)) for j in range(4)] for i in range(8)
        ]
        if np.min(apart) <= 0.8:
            expected.flat[np.argmin(apart)] += 1 / len(points)
    np.testing.assert_allclose(shares, expected)
    assert 0 < shares.sum() < 1
    with pytest.raises(ValueError, match="near = 0 must be a distance, finite and above 0"):
        spaces.klein_bottle_shares(points, 4, 0)


def test_what_moves_on_the_klein_bottle_moves_by_the_distance_of_its_patches():
    edge, other = (spaces.klein_bottle_shares(klein_bottle(theta, np.pi / 2)[None], 4) for theta in (0, np.pi / 4))
    distance = np.linalg.norm(primary_circle(0.0) - primary_circle(np.pi / 4))
    assert spaces.klein_bottle_move(edge, other) == pytest.approx(distance)
    assert spaces.klein_bottle_move(edge, edge + other) == pytest.approx(distance / 2)
    assert spaces.klein_bottle_move(edge, 3 * edge) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match=r"shares \(8, 4\) and others \(4, 2\) must both have shape"):
        spaces.klein_bottle_move(edge, np.ones((4, 2)))
    with pytest.raises(ValueError, match="no point is near the Klein bottle"):
        spaces.klein_bottle_move(edge, 0 * edge)


# --- Samples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sample, dim",
    [
        (spaces.sample_circle, 2),
        (spaces.sample_torus, 4),
        (spaces.sample_klein_bottle, 9),
        (spaces.sample_three_circles, 9),
    ],
)
def test_samples_depend_on_their_seed_alone(sample, dim):
    points = sample(40, 7)
    assert points.shape == (40, dim) and points.dtype == np.float64
    np.testing.assert_array_equal(sample(40, 7), points)
    np.testing.assert_array_equal(sample(40, np.random.default_rng(7)), points)
    assert not np.allclose(sample(40, 8), points)
    noisy = sample(40, 7, noise=0.05)
    assert 0 < np.linalg.norm(noisy - points, axis=1).max() < 0.5
    with pytest.raises(ValueError, match="n = 0"):
        sample(0, 7)


def test_samples_lie_on_their_models():
    np.testing.assert_allclose(np.linalg.norm(spaces.sample_circle(500, 0), axis=1), 1)
    assert (spaces.sample_circle(50, 0, dim=5)[:, 2:] == 0).all()
    torus = spaces.sample_torus(500, 0).reshape(500, 2, 2)
    np.testing.assert_allclose(np.linalg.norm(torus, axis=2), 1)
    assert distance_to(spaces.sample_three_circles(500, 0), three_circles(3000)).max() < 0.01
    grid = klein_bottle(*np.meshgrid(np.linspace(0, np.pi, 90), np.linspace(0, 2 * np.pi, 180))).reshape(-1, 9)
    assert distance_to(spaces.sample_klein_bottle(500, 0), grid).max() < 0.05
    with pytest.raises(ValueError, match="dim = 1"):
        spaces.sample_circle(10, 0, dim=1)


@pytest.mark.parametrize("sample", [spaces.sample_klein_bottle, spaces.sample_three_circles])
def test_noisy_patches_are_patches(sample):
    assert_centred_and_unit(sample(100, 0, noise=0.2))


def test_samples_of_three_circles_share_out_evenly():
    points = spaces.sample_three_circles(3000, 0)
    circles = [primary_circle(ANGLES), *secondary_circles(ANGLES)]
    nearest = np.argmin([distance_to(points, circle) for circle in circles], axis=0)
    assert np.abs(np.bincount(nearest, minlength=3) - 1000).max() < 150


# --- Projections --------------------------------------------------------------------------------------------


def test_primary_angle_inverts_the_circle():
    angles = np.linspace(-3.1, 3.1, 50)
    np.testing.assert_allclose(primary_angle(primary_circle(angles)), angles, atol=1e-12)
    np.testing.assert_allclose(primary_angle(4 * primary_circle(angles) + 0.3), angles, atol=1e-12)


def test_the_distance_to_the_primary_circle_is_that_to_its_nearest_patch():
    patches, circle = filters.normalize(PATCHES), primary_circle(np.linspace(0, 2 * np.pi, 20_000))
    np.testing.assert_allclose(primary_distance(5 * patches + 1), spaces.distance_to(patches, circle), atol=1e-6)


def test_primary_energy_is_a_share():
    np.testing.assert_allclose(primary_energy(3 * primary_circle(ANGLES) - 2), 1)
    np.testing.assert_allclose(primary_energy(secondary_circles(ANGLES)[1]), np.sin(ANGLES) ** 2, atol=1e-12)
    energy = primary_energy(PATCHES)
    assert ((energy >= 0) & (energy <= 1)).all()
    distances = distance_to(spaces.normalize(PATCHES), primary_circle(np.linspace(0, 2 * np.pi, 5000)))
    np.testing.assert_allclose(distances**2, 2 - 2 * np.sqrt(energy), atol=1e-5)  # nearest point of a great circle


def test_distance_to_equals_brute_force():
    points, model = PATCHES[:20].astype(np.float32), PATCHES[20:]
    expected = np.linalg.norm(points[:, None].astype(float) - model[None], axis=-1).min(axis=1)
    np.testing.assert_allclose(distance_to(points, model), expected, rtol=1e-12)
    assert (distance_to(model, model) == 0).all()


# --- The DCT basis ------------------------------------------------------------------------------------------


def squared_d_norm(patch):
    """Lee, Pedersen & Mumford 2003: the sum over horizontal and vertical neighbours."""
    grid = patch.reshape(3, 3)
    return (np.diff(grid, axis=0) ** 2).sum() + (np.diff(grid, axis=1) ** 2).sum()


def test_circles_are_the_three():
    primary, vertical, horizontal = spaces.circles(8).values()
    np.testing.assert_allclose(primary[1], primary_circle(np.pi / 4), atol=1e-12)
    np.testing.assert_allclose(
        np.stack([vertical, horizontal]), secondary_circles(np.arange(8) * np.pi / 4), atol=1e-12
    )


def test_patches_of_2x2_have_edges_but_are_too_small_for_lines():
    np.testing.assert_allclose(primary_circle(0, side=2), [-0.5, 0.5, -0.5, 0.5])
    with pytest.raises(ValueError, match="side = 2 must be a whole number, 3 or more"):
        spaces.klein_bottle(0.0, 0.0, side=2)


def test_point_circles_join_edges_over_points_that_the_klein_bottle_has_not():
    vertical, horizontal = spaces.point_circles(np.arange(4) * np.pi / 2)
    point = np.array([2, -1, 2, -1, -4, -1, 2, -1, 2]) / 6
    for circle, edge in (vertical, primary_circle(0)), (horizontal, primary_circle(np.pi / 2)):
        np.testing.assert_allclose(circle, [point, edge, -point, -edge], atol=1e-12)
    bottle = spaces.klein_bottle(*np.meshgrid(np.arange(360) * np.pi / 360, np.arange(720) * np.pi / 360)).reshape(
        -1, 9
    )
    np.testing.assert_allclose(spaces.distance_to([point, -point], bottle), np.sqrt(2 - np.sqrt(2)), atol=1e-3)


def test_circles_cross_the_primary_one_over_any_blend_of_lines():
    phi = np.linspace(0, 2 * np.pi, 9)
    np.testing.assert_allclose(spaces.crossing_circles(0, phi)[0], secondary_circles(phi)[0], atol=1e-12)
    np.testing.assert_allclose(spaces.crossing_circles(np.pi / 2, phi)[1], secondary_circles(phi)[1], atol=1e-12)
    for circle, edge in zip(spaces.crossing_circles(1.2, phi), (0, np.pi / 2)):
        np.testing.assert_allclose(np.linalg.norm(circle, axis=1), 1)
        np.testing.assert_allclose(circle[2], primary_circle(edge), atol=1e-12)


def test_the_pole_of_a_crossing_circle_is_found_and_edges_have_none():
    phi = np.linspace(0, 2 * np.pi, 400)
    for angle in (0.3, np.pi / 4, 1.1, 2.9):
        found = spaces.pole(spaces.crossing_circles(angle, phi)[1])
        assert found.angle == pytest.approx(angle) and found.agreement == pytest.approx(1)
        assert found.share == pytest.approx(0.5, abs=0.01)
    found = spaces.pole(primary_circle(phi))
    assert found.share == found.agreement == 0 and np.isnan(found.angle)
    both = np.concatenate([spaces.crossing_circles(angle, np.zeros(5))[1] for angle in (0.2, 0.2 + np.pi / 2)])
    assert spaces.pole(both).agreement == pytest.approx(0, abs=1e-12)


def test_holes_are_those_of_the_sectors():
    circle = spaces.circles()["primary"]
    patches = primary_circle(np.linspace(0, 4, 300))
    sector = spaces.circle_sectors(patches, circle, 12)
    missing = 12 - len(np.unique(sector))
    assert spaces.sector_holes(sector, 12) == spaces.circle_holes(patches, circle, 12) == missing > 0
    assert spaces.on_circles(patches, {"it": circle}, 12)["it"] == (1.0, missing)


def test_sectors_say_where_on_a_circle_a_patch_is():
    circle = spaces.circles()["primary"]
    angles = np.array([0, 0.49, 0.51, 1, 2.4, 3.6, 3.51]) * np.pi / 2
    assert spaces.circle_sectors(primary_circle(angles), circle, sectors=4).tolist() == [0, 0, 1, 1, 2, 0, 0]
    line = secondary_circles(0)[0]
    assert spaces.circle_sectors([line], circle).tolist() == [-1]
    halfway = (line + primary_circle(0)) / np.sqrt(2)  # at a distance of 0.765
    assert spaces.circle_sectors([halfway], circle, near=0.76).tolist() == [-1]
    assert spaces.circle_sectors([halfway], circle, near=0.77).tolist() == [0]


def test_holes_are_where_a_circle_has_few_patches_or_none():
    circle = spaces.circles()["primary"]
    angles = np.concatenate([np.repeat(np.arange(16) * np.pi / 8, 100)])
    assert spaces.circle_holes(primary_circle(angles), circle) == 0
    np.testing.assert_allclose(spaces.circle_means(primary_circle(angles), circle), circle[::45], atol=1e-12)
    thinned = np.delete(angles, slice(5, 100))  # 5 patches at angle 0, where 0.1 of an even share is 9.4
    means = spaces.circle_means(primary_circle(thinned), circle)
    assert (
        np.flatnonzero(np.isnan(means).all(axis=1)).tolist() == [0]
        and spaces.circle_holes(primary_circle(thinned), circle) == 1
    )
    assert spaces.circle_holes(primary_circle(thinned), circle, least=0.01) == 0
    assert spaces.circle_holes(secondary_circles([0, np.pi])[0], circle) == 16
    with pytest.raises(ValueError, match="near = 0 must be a distance"):
        spaces.circle_holes(circle, circle, near=0)
    with pytest.raises(ValueError, match="sectors = 0"):
        spaces.circle_holes(circle, circle, 0)


def test_one_crowded_sector_does_not_make_holes_of_the_others():
    circle = spaces.circles()["primary"]
    angles = np.repeat(np.arange(16) * np.pi / 8, [1000, *[20] * 15])  # an even share is 81, a tenth of the largest 100
    assert spaces.circle_holes(primary_circle(angles), circle) == 0
    assert spaces.circle_holes(primary_circle(angles), circle, least=0.25) == 15  # 20.3 is asked for


def test_dct_basis_is_orthonormal_for_the_d_norm():
    basis = dct_basis()
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-14)
    product = np.empty((8, 8))
    for i in range(8):
        for j in range(8):
            plus, minus = (squared_d_norm(basis[:, i] + sign * basis[:, j]) for sign in (1, -1))
            product[i, j] = (plus - minus) / 4
    np.testing.assert_allclose(product, np.eye(8), atol=1e-14)


def test_dct_basis_as_printed():
    first, second, fifth, sixth = dct_basis().T[[0, 1, 4, 5]].reshape(4, 3, 3)
    np.testing.assert_allclose(first * np.sqrt(6), [[1, 0, -1]] * 3)
    np.testing.assert_allclose(second, first.T)
    np.testing.assert_allclose(fifth * np.sqrt(8), [[1, 0, -1], [0, 0, 0], [-1, 0, 1]])
    np.testing.assert_allclose(sixth * np.sqrt(48), [[1, 0, -1], [-2, 0, 2], [1, 0, -1]])


def test_dct_round_trips():
    coordinates = np.random.default_rng(1).normal(size=(40, 8))
    coordinates /= np.linalg.norm(coordinates, axis=1, keepdims=True)
    assert_centred_and_unit(from_dct(coordinates))
    np.testing.assert_allclose(to_dct(from_dct(3 * coordinates)), coordinates, atol=1e-14)
    np.testing.assert_allclose(from_dct(to_dct(PATCHES)), spaces.normalize(PATCHES), atol=1e-14)


def test_dct_of_the_primary_circle():
    coordinates = to_dct(primary_circle(ANGLES))
    np.testing.assert_allclose(coordinates[:, :2], -np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), atol=1e-14)
    np.testing.assert_allclose(coordinates[:, 2:], 0, atol=1e-14)


def test_natural_patches_with_the_widest_neighbourhood_are_the_primary_circle():
    coordinates = datasets.natural_patches(CORES[0])
    patches = from_dct(coordinates)
    np.testing.assert_allclose(to_dct(patches), coordinates, atol=1e-3)  # the book's copy is in float16
    assert np.median(primary_energy(patches)) > 0.9
    assert np.histogram(primary_angle(patches), 12, (-np.pi, np.pi))[0].min() > 100  # all the way round


def test_natural_patches_with_a_narrow_neighbourhood_are_three_circles():
    far_from_edges = [
        patches[primary_energy(patches) < 0.3] for patches in map(from_dct, map(datasets.natural_patches, CORES))
    ]
    assert len(far_from_edges[0]) == 0
    vertical, horizontal = (distance_to(far_from_edges[1], circle) for circle in secondary_circles(ANGLES))
    assert len(vertical) > 100
    assert np.minimum(vertical, horizontal).max() < 0.4
    assert min((vertical < 0.4).mean(), (horizontal < 0.4).mean()) > 0.4  # both circles are there


def test_natural_patches_fix_the_order_and_signs_of_the_basis():
    """A patch f(ax + by) has c1 c2 c5 (c3 + c4) ~ (ab)^2 > 0; a step in c1 bends c6 and one in c2 bends c7 alike."""
    c1, c2, c3, c4, c5, c6, c7, _ = datasets.natural_patches("n50000").T
    assert (c1 * c2 * c5 * (c3 + c4)).mean() > 0.002
    assert (c1 * c6).mean() < -0.01 and (c2 * c7).mean() < -0.01
    assert abs((c1 * c7).mean()) < 0.005 and abs((c2 * c6).mean()) < 0.005


# --- Bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [primary_angle, primary_energy, to_dct])
def test_patches_have_nine_pixels(function):
    with refused(ValueError, match=r"\(n, 9\), not \(4, 8\)"):
        function(np.ones((4, 8)))


@pytest.mark.parametrize("function", [primary_energy, to_dct])
def test_constant_patches_have_no_direction(function):
    with pytest.raises(ValueError, match="1 of 51 patches are constant"):
        function(np.concatenate([PATCHES, np.full((1, 9), 0.1)]))


def test_bad_coordinates_and_models():
    with refused(ValueError, match=r"\(n, 8\), not \(50, 9\)"):
        from_dct(PATCHES)
    with pytest.raises(ValueError, match="row 2 is"):
        from_dct(np.diag([1.0, 1, 0, 1, 1, 1, 1, 1]))
    with refused(ValueError, match="differ in dimension"):
        distance_to(PATCHES, PATCHES[:, :8])


# Measures of a cloud


def test_the_grid_covers_the_klein_bottle():
    grid = spaces.klein_bottle_grid(30)
    assert grid.shape == (1800, 9) and spaces.klein_bottle_grid(4, side=5).shape == (32, 25)
    sample = spaces.sample_klein_bottle(500, 0)
    assert spaces.distance_to(sample, grid).max() < 0.15
    with pytest.raises(ValueError, match="steps = 0"):
        spaces.klein_bottle_grid(0)


def test_named_patches_are_what_their_names_say():
    named = {name: patch.reshape(3, 3) for name, patch in spaces.named_patches().items()}
    assert len(named) == 16
    assert (named["edge, bright right"][:, 2] > named["edge, bright right"][:, 0]).all()
    assert (named["edge, bright below"][2] > named["edge, bright below"][0]).all()
    assert (named["bright vertical line"][:, 1] > named["bright vertical line"][:, 0]).all()
    assert (named["dark horizontal line"][1] < named["dark horizontal line"][0]).all()
    rising = named["bright rising line"]
    assert min(rising[2, 0], rising[1, 1], rising[0, 2]) > max(rising[0, 0], rising[2, 2])
    assert named["edge, bright above left"].argmax() == 0


@pytest.mark.parametrize("noise", [0.05, 0.12, 0.2])
def test_the_noise_of_a_sample_is_found_again(noise):
    assert spaces.three_circles_noise(spaces.sample_three_circles(3000, 1, noise)) == pytest.approx(noise, abs=0.011)


def test_thin_sectors_are_the_twelfths_without_their_share_of_edges():
    angles = (np.arange(1200) + 0.5) * 2 * np.pi / 1200
    whole = spaces.primary_circle(angles)
    assert spaces.thin_sectors(whole) == 0
    assert spaces.thin_sectors(whole[angles > 2 * np.pi / 4]) == 3
    lines = np.repeat(spaces.secondary_circles(0.0)[0][None], 1200, axis=0)
    assert spaces.thin_sectors(np.concatenate([whole[:100], lines])) == 11
    few = np.concatenate([whole[:1], whole[100:]])  # one of 1,101 points is less than 1 in 100
    assert spaces.thin_sectors(few) == 1 and spaces.thin_sectors(few, least=0) == 0


def test_a_cloud_lies_on_the_circle_that_it_was_drawn_from():
    around = spaces.circles(points=True)
    assert list(around) == ["primary", "vertical", "horizontal", "vertical point", "horizontal point"]
    assert list(spaces.circles()) == list(around)[:3]
    found = spaces.on_circles(around["horizontal point"][::3], around, near=0.3)
    assert found["horizontal point"] == (1, 0) and found["primary"].share < 0.3 and found["vertical"].holes > 8
    for name, circle in around.items():
        on = spaces.circle_sectors(around["horizontal point"][::3], circle, near=0.3) >= 0
        assert found[name] == (on.mean(), spaces.circle_holes(around["horizontal point"][::3], circle, near=0.3))


def test_means_in_the_plane_of_a_cloud_go_around_it_once():
    angles = np.arange(600) * 2 * np.pi / 600
    stretched = np.stack([2 * np.cos(angles), np.sin(angles)], axis=1) @ spaces.primary_circle([0, np.pi / 2])
    means = spaces.plane_means(stretched, 12)
    assert means.shape == (12, 9) and np.isfinite(means).all()
    turns = np.diff(np.unwrap(spaces.primary_angle(means[[*range(12), 0]])))
    assert abs(turns.sum()) == pytest.approx(2 * np.pi) and (np.sign(turns) == np.sign(turns[0])).all()
    half = spaces.plane_means(np.concatenate([stretched[:1], stretched[1:150]]), 12)
    assert np.isnan(half).any()

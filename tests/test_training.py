import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import Future
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import refused

from topo import archive, campaign, checkpoints, datasets, populations, recipes, spaces, starts, training
from topo.notation import Architecture

SMALL = dict(architecture="M(8,4,16)", iterations=20, snapshots=(0, 10), dataset="digits", batch=32)


@pytest.fixture(scope="module")
def population():
    return training.train_population(networks=4, **SMALL)


def test_a_population_has_its_snapshots_and_learns(population):
    assert list(population.members) == [0, 1, 2, 3]
    assert {layer: list(kept) for layer, kept in population.kernels.items()} == {1: [0, 10, 20], 2: [0, 10, 20]}
    assert population.kernels[2][20].shape == (4, 3, 3, 8, 4)
    assert population.filters(2).shape == (4 * 8 * 4, 9)
    longer = training.train_population("M(16,0,0)", 1, 150, dataset="digits", batch=32, learning_rate=3e-3)
    assert population.accuracy[20].shape == (4,) and longer.accuracy[150][0] > 0.7


def test_members_differ_and_the_same_seed_repeats_to_the_bit(population):
    again = training.train_population(networks=4, **SMALL)
    np.testing.assert_array_equal(again.kernels[1][20], population.kernels[1][20])
    kernels = population.kernels[1][0]
    assert not any(np.allclose(kernels[i], kernels[j]) for i in range(4) for j in range(i))
    other = training.train_population(networks=1, seed=1, **SMALL)
    assert not np.allclose(other.kernels[1][0], kernels[:1])


@pytest.mark.parametrize(
    "text, settings", [("M(8,4,16)", {}), ("C(8,4,16)", dict(crop=6)), ("C(4,4,8)", dict(crop=7, max_pooling=False))]
)
def test_member_7_alone_equals_its_slice_of_the_population(text, settings):
    settings = dict(iterations=20, dataset="digits", batch=32, **settings)
    population = training.train_population(text, 9, **settings)
    alone = training.train_population(text, members=[7], **settings)
    for layer in (1, 2):
        np.testing.assert_allclose(alone.kernels[layer][20][0], population.kernels[layer][20][7], rtol=0, atol=1e-6)


@pytest.mark.parametrize("text, settings", [("M(8,4,16)", {}), ("C(8,4,16)", dict(crop=6))])
def test_all_formulations_train_the_same_population(text, settings):
    settings = dict(networks=3, iterations=20, dataset="digits", batch=32, **settings)
    plain, *others = (
        training.train_population(text, formulation=name, **settings) for name in ("plain", "fused", "products")
    )
    for layer in (1, 2):
        for other in others:
            np.testing.assert_allclose(other.kernels[layer][20], plain.kernels[layer][20], rtol=0, atol=1e-5)


ON_TWO_DEVICES = """
import sys
import numpy as np
import jax
from topo import checkpoints, training
assert len(jax.local_devices()) == 2
for text, formulation, settings in (("M(8,4,16)", "fused", {}), ("C(8,4,16)", "products", dict(crop=6))):
    settings = dict(settings, dataset="digits", batch=32)
    two = training.train_population(text, 3, 20, (0, 20), formulation=formulation, **settings)
    wanted = training.Training(training.Architecture.parse(text), **settings)
    trainer = training.Trainer(wanted, formulation=formulation)
    one = checkpoints.Chunk(trainer, range(3)).run(20, (0, 20)).population((0, 20))
    for layer in (1, 2):
        np.testing.assert_allclose(two.kernels[layer][20], one.kernels[layer][20], rtol=0, atol=1e-5)
        assert two.kernels[layer][20].shape[0] == 3
    np.testing.assert_allclose(two.accuracy[20], one.accuracy[20], atol=1 / 297 + 1e-9)
"""


def test_two_devices_share_a_population_through_a_mesh():
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
    }
    subprocess.run([sys.executable, "-c", ON_TWO_DEVICES], check=True, env=environment)


def test_crops_are_windows_of_the_chosen_images_mirrored_half_of_the_time():
    images = jnp.arange(40 * 9 * 8 * 2).reshape(40, 9, 8, 2)
    chosen = jnp.arange(39, -1, -1)
    crops = np.asarray(training.random_crops(images, chosen, 5, jax.random.key(0)))
    assert crops.shape == (40, 5, 5, 2)
    found = []
    for image, crop in zip(np.asarray(images)[::-1], crops):
        windows = {(top, left, mirrored): image[top : top + 5, left : left + 5][:, :: -1 if mirrored else 1]
                   for top in range(5) for left in range(4) for mirrored in (False, True)}  # fmt: skip
        found += [place for place, window in windows.items() if np.array_equal(window, crop)]
    assert len(found) == 40
    tops, lefts, mirrored = zip(*found)
    assert set(tops) == set(range(5)) and set(lefts) == set(range(4)) and 10 <= sum(mirrored) <= 30


def test_an_epoch_visits_every_image_once_and_each_member_and_epoch_has_an_order_of_its_own():
    trainer = training.Trainer(training.Training(Architecture.parse("M(4,0,0)"), "digits", 32))
    orders = [tuple(order) for epoch in (0, 1) for order in np.asarray(trainer._order(jnp.arange(3), epoch)).tolist()]
    assert all(sorted(order) == list(range(1500)) for order in orders)
    assert len({*orders, tuple(range(1500))}) == 7


def test_tests_see_the_middle_of_an_image_and_nothing_else():
    digits, right = datasets.digits(), []
    shown, labels = digits.test_images[:200], digits.test_labels[:200]
    noise = np.random.default_rng(0).integers(0, 256, shown.shape).astype(np.uint8)
    around, within = noise.copy(), shown.copy()
    around[:, 1:7, 1:7], within[:, 1:7, 1:7] = shown[:, 1:7, 1:7], noise[:, 1:7, 1:7]
    wanted = training.Training(Architecture.parse("C(4,0,0)"), "digits", 32, crop=6)
    states = training.Trainer(wanted, formulation="plain").initial(range(5))
    for images in (shown, around, within):
        data = digits._replace(test_images=images, test_labels=labels)
        right.append(training.Trainer(wanted, data, "plain").accuracy(states).tolist())
    assert right[0] == right[1] != right[2]


def test_standardised_images_have_mean_0_and_deviation_1_and_flat_ones_are_0():
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3)).astype(np.uint8)
    images[4] = 9
    result = np.asarray(training.standardize(jnp.asarray(images)))
    np.testing.assert_allclose(result[:4].mean((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(result[:4].std((1, 2, 3)), 1, rtol=1e-5)
    np.testing.assert_allclose(result[4], 0, atol=1e-4)


def advanced(text, iterations, **settings):
    trainer = training.Trainer(training.Training(Architecture.parse(text), "digits", 32, **settings))
    return trainer.advance(trainer.initial([0]), [0], 0, iterations)


def test_the_learning_rate_falls_after_its_epochs():
    epoch = 1500 // 32
    before, after = (advanced("C(4,0,8)", n, crop=6, decay=1e-9, decay_epochs=1).params for n in (epoch, epoch + 5))
    for left, right in zip(jax.tree.leaves(before), jax.tree.leaves(after)):
        np.testing.assert_allclose(left, right, atol=1e-7)
    going_on = advanced("C(4,0,8)", epoch + 5, crop=6).params["params"]["conv1"]["kernel"]
    assert np.abs(going_on - before["params"]["conv1"]["kernel"]).max() > 1e-4


def rates(iterations, **settings):
    wanted = training.Training(Architecture.parse("C(4,0,8)"), "digits", 32, crop=6, **settings)
    rate = recipes.learning_rate(wanted, 1500 // 32)
    return [float(rate(t)) for t in iterations]


def test_the_learning_rate_can_fall_at_stated_epochs_or_along_a_cosine():
    epoch = 1500 // 32
    steps = rates((0, epoch - 1, epoch, 3 * epoch - 1, 3 * epoch), decay=0.1, decay_epochs=(1, 3))
    np.testing.assert_allclose(steps, [0.1, 0.1, 0.01, 0.01, 0.001], rtol=1e-5)
    np.testing.assert_allclose(rates((0, 50, 100, 150), anneal=100), [0.1, 0.05, 0, 0], atol=1e-8)
    annealed, further = (
        advanced("C(4,0,8)", n, crop=6, anneal=10).params["params"]["conv1"]["kernel"] for n in (10, 14)
    )
    np.testing.assert_array_equal(annealed, further)
    assert training.Training(Architecture.parse("C(4,0,8)"), "digits", crop=6, anneal=10).decay == 1


def test_momentum_is_that_of_the_heavy_ball():
    start, one, two = (
        advanced("C(4,0,8)", n, crop=6, momentum=0.5).params["params"]["readout"]["bias"] for n in (0, 1, 2)
    )
    plain = advanced("C(4,0,8)", 1, crop=6).params["params"]["readout"]["bias"]
    np.testing.assert_array_equal(one, plain)
    trainer = training.Trainer(training.Training(Architecture.parse("C(4,0,8)"), "digits", 32, crop=6))
    states = trainer.advance(trainer.advance(trainer.initial([0]), [0], 0, 1), [0], 1, 2)
    alone = states.params["params"]["readout"]["bias"]
    np.testing.assert_allclose(two - alone, 0.5 * (one - start), atol=1e-6)


def test_images_that_are_held_out_are_never_trained_on_and_give_the_accuracy():
    digits = datasets.digits()
    wanted = training.Training(Architecture.parse("M(8,0,0)"), "digits", 32, learning_rate=3e-3, hold_out=300)
    trainer = training.Trainer(wanted)
    spoiled = digits._replace(
        train_images=np.concatenate([digits.train_images[:1200], digits.train_images[1200:] ^ 255])
    )
    other = training.Trainer(wanted, spoiled)
    states, others = (each.advance(each.initial([0]), [0], 0, 60) for each in (trainer, other))
    np.testing.assert_array_equal(
        states.params["params"]["conv1"]["kernel"], others.params["params"]["conv1"]["kernel"]
    )
    shown = trainer._network.apply(
        jax.tree.map(lambda leaf: leaf[0], states.params), jnp.asarray(digits.train_images[1200:] / np.float32(255))
    )
    assert trainer.accuracy(states)[0] == (np.asarray(shown).argmax(-1) == digits.train_labels[1200:]).mean() > 0.5
    assert wanted.describe()["hold_out"] == 300


def test_a_network_learns_from_the_first_images_only():
    digits = datasets.digits()
    few = training.Training(Architecture.parse("M(8,0,0)"), "digits", 32, images=96)
    other = digits._replace(train_images=np.concatenate([digits.train_images[:96], digits.train_images[96:] ^ 255]))
    first, second = (training.Trainer(few, data) for data in (digits, other))
    kernels = [each.kernels(each.advance(each.initial([0]), [0], 0, 7))[1] for each in (first, second)]
    np.testing.assert_array_equal(*kernels)
    all_images = training.Trainer(dataclasses.replace(few, images=0))
    assert not np.array_equal(kernels[0], all_images.kernels(all_images.advance(all_images.initial([0]), [0], 0, 7))[1])


@pytest.mark.parametrize("text, settings", [("M(16,4,8)", {}), ("C(16,0,8)", dict(crop=6, momentum=0.9))])
@pytest.mark.parametrize("fixed", [False, True])
def test_a_first_layer_can_begin_with_chosen_filters_and_keep_them(text, settings, fixed):
    usual, chosen = (
        training.Trainer(
            training.Training(Architecture.parse(text), "digits", 32, first=first, fixed=fixed, **settings)
        )
        for first in ("", "primary circle")
    )
    plain, states = usual.initial([0, 1]), chosen.initial([0, 1])
    np.testing.assert_array_equal(plain.params["params"]["dense"]["kernel"], states.params["params"]["dense"]["kernel"])
    filters = chosen.kernels(states)[1].transpose(0, 4, 3, 1, 2).reshape(2, 16, 9)
    means = (usual.kernels(plain)[1] ** 2).sum((1, 2)).mean((1, 2))
    np.testing.assert_allclose((filters**2).sum(2), np.repeat(means[:, None], 16, 1), rtol=1e-5)
    assert spaces.primary_energy(filters.reshape(-1, 9)).min() > 0.999
    assert len(np.unique(filters.round(6), axis=1)[0]) > 8 and not np.allclose(filters[0], filters[1])
    before, bias = chosen.kernels(states)[1], np.array(states.params["params"]["conv1"]["bias"])
    later = chosen.advance(states, [0, 1], 0, 3)
    assert np.array_equal(before, chosen.kernels(later)[1]) == fixed
    assert not np.array_equal(bias, later.params["params"]["conv1"]["bias"])


def test_chosen_filters_are_centred_have_norm_1_and_come_from_what_is_named():
    every = {name: starts.starting_filters(name) for name in (*starts.STARTS, "mnist-M-64-32-64-batch-124")}
    for filters in every.values():
        assert filters.dtype == np.float32
        np.testing.assert_allclose(filters.mean(1), 0, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(filters, axis=1), 1, atol=1e-6)
    assert spaces.distance_to(every["Klein bottle"], spaces.klein_bottle_grid()).max() < 1e-6
    assert np.median(spaces.distance_to(every["random"], spaces.klein_bottle_grid())) > 0.4
    assert len(every["mnist-M-64-32-64-batch-124"]) == 20 * 64


def letters(classes):
    """Digits under fifteen labels, for what a data set with more than ten classes does."""
    digits = datasets.digits()
    labels = [np.arange(len(part), dtype=np.uint8) % 15 for part in (digits.train_labels, digits.test_labels)]
    return digits._replace(name="letters", train_labels=labels[0], test_labels=labels[1], classes=classes)


@pytest.mark.parametrize("text, settings", [("M(4,0,8)", {}), ("C(4,0,8)", dict(crop=6))])
def test_a_network_has_as_many_outputs_as_its_data_set_has_classes(text, settings):
    trainer = training.Trainer(training.Training(Architecture.parse(text), "digits", 32, **settings), letters(15))
    states = trainer.advance(trainer.initial([0]), [0], 0, 3)
    assert states.params["params"]["readout"]["bias"].shape == (1, 15) and np.isfinite(states.loss).all()


def test_labels_outside_the_classes_are_refused_before_anything_is_compiled(monkeypatch):
    message = "label 10 among the training labels of data set 'letters' is not allowed: it has 10 classes, 0 to 9"
    with pytest.raises(ValueError, match=message):
        training.Trainer(training.Training(Architecture.parse("M(4,0,8)"), "digits", 32), letters(10))
    monkeypatch.setattr(training, "measure", lambda wanted: pytest.fail("it was measured"))
    monkeypatch.setitem(datasets.SOURCES, "letters", datasets.Source(lambda: letters(15), (1500, 8, 8, 1), classes=10))
    with pytest.raises(ValueError, match=message):
        training.train_population("M(4,0,8)", 1, 2, dataset="letters")


def test_a_data_set_is_one_entry(monkeypatch):
    monkeypatch.setitem(datasets.SOURCES, "letters", datasets.Source(lambda: letters(10), (1500, 8, 8, 1), classes=15))
    trained = training.train_population("M(4,0,8)", 2, 3, dataset="letters", batch=16)
    assert trained.members.tolist() == [0, 1] and not trained.left_out


def test_the_l2_loss_shrinks_the_dense_layer_only():
    weak, strong = (advanced("C(4,0,8)", 20, crop=6, l2=weight).params["params"] for weight in (0.0, 1.0))
    norm = lambda layer: float(jnp.linalg.norm(layer["kernel"]))
    assert norm(strong["dense"]) < 0.4 * norm(weak["dense"])
    assert norm(strong["conv1"]) > 0.8 * norm(weak["conv1"])


def test_what_the_paper_leaves_open_is_the_familys_own():
    m, c, d = (training.Training(Architecture.parse(text), "cifar10") for text in ("M(8,0,0)", "C(8,0,0)", "D(4)"))
    assert (m.optimizer, m.learning_rate, m.crop, m.l2) == ("adam", 1e-3, 0, 0)
    assert (c.optimizer, c.learning_rate, c.crop, c.l2, c.decay, c.decay_epochs) == ("sgd", 0.1, 24, 0.004, 0.1, 350)
    assert d.crop - 2 * d.pad == 24
    assert "crop" not in m.describe() and c.describe()["l2"] == 0.004 and "max_pooling" not in c.describe()


@pytest.mark.parametrize(
    "text, settings, words",
    [
        ("M(8,4,16)", {}, "Adam; 0.001, constant; none; 128; none; divided by 255"),
        ("C(8,4,16)", {}, "SGD; 0.1, times 0.1 after every 350 epochs; 0.004; 128; random 24 x 24, flipped"),
        ("C(8,4,16)", dict(decay=0.5, decay_epochs=(3, 7)), "0.1, times 0.5 at the end of epoch 3 and of epoch 7"),
        (
            "C(8,4,16)",
            dict(momentum=0.9, anneal=8000),
            "SGD, momentum 0.9; 0.1, along half a cosine to 0 at iteration 8,000",
        ),
        ("D(8)", {}, "random 32 x 32, after 4 zeros around it, flipped half of the time, standardised"),
        ("C(8,4,16)", dict(max_pooling=False), "C(8,4,16), without max-pooling"),
        ("C(8,4,16)", dict(images=500), "the first 500"),
        ("C(8,4,16)", dict(first="random", fixed=True), "begins with filters of random, which stay"),
        ("C(8,4,16)", dict(fixed=True), "begins with independent weights, which stay"),
    ],
)
def test_a_recipe_is_told_in_words(text, settings, words):
    chosen = training.Training(Architecture.parse(text), "cifar10", **settings)
    assert words in "; ".join(recipes.in_words(chosen.describe()).values())


def test_numbers_of_numpy_are_taken_as_numbers():
    given = dict(learning_rate=np.float64(0.25), l2=np.float32(0.5), momentum=np.float64(0.5), decay=np.float64(0.5))
    chosen = training.Training(Architecture.parse("C(8,4,16)"), "cifar10", **given)
    assert json.loads(json.dumps(chosen.describe()))["learning_rate"] == 0.25
    assert checkpoints.checkpoint_path(chosen, [0]).name == "members-0000-0000.safetensors"


def test_an_archive_without_its_file_is_trained_anew(population, tmp_path):
    plan = populations.Plan(training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 20, (4, 20), (0, 20))
    populations.keep("some", plan, population, tmp_path).unlink()
    assert populations.members_held("some", plan, tmp_path) == 0


def test_snapshots_may_come_from_an_iterator():
    assert checkpoints.check_snapshots(1, 10, iter([2, 1])) == (1, 2, 10)


def test_it_is_said_which_images_an_accuracy_is_of(population, tmp_path):
    plain, withheld = (training.Training(Architecture.parse("M(8,4,16)"), "digits", 32, hold_out=n) for n in (0, 300))
    assert recipes.judged_on(plain) == "the test images"
    plan = populations.Plan(withheld, 4, 20, (4, 20), (0, 20))
    populations.keep("some", plan, population, tmp_path)
    said = archive.manifest(tmp_path)["some"]["accuracy_of"]
    assert said == recipes.judged_on(withheld) == "the last 300 training images, never trained on"


def test_every_archive_says_which_images_its_accuracy_is_of():
    for name, entry in archive.manifest().items():
        if "hold_out" in entry:
            assert entry["accuracy_of"] == "the last 2,000 training images, never trained on", name
        else:
            cifar = entry["dataset"].startswith("cifar10")
            assert entry["accuracy_of"].endswith("compressed by JPEG" if cifar else "test images"), name


@pytest.mark.parametrize("formulation", training.FORMULATIONS)
def test_memory_grows_linearly_with_the_members(formulation):
    trainer = training.Trainer(
        training.Training(Architecture.parse("M(16,8,32)"), "digits", 32), formulation=formulation
    )
    used = [trainer.memory(members) for members in (2, 4, 8, 16)]
    slopes = np.diff(used) / [2, 4, 8]
    weights = sum(leaf.size * 4 for leaf in jax.tree.leaves(trainer.initial([0])))
    assert np.ptp(slopes) < 0.1 * slopes.mean() and slopes.mean() > 0.9 * weights


def test_the_faster_formulation_is_measured_once_and_kept(tmp_path):
    wanted = training.Training(Architecture.parse("M(5,0,3)"), "digits", 16)
    record = training.cached_measurement(wanted, tmp_path)
    assert set(record["seconds"]) == set(training.candidates()) < set(training.FORMULATIONS)
    assert record["seconds"][record["formulation"]] == min(record["seconds"].values()) > 0
    assert training.read_measurement(wanted, tmp_path) == record == json.loads(json.dumps(record))
    assert training.read_measurement(training.Training(Architecture.parse("M(5,0,3)"), "digits", 8), tmp_path) is None


def test_members_at_once_follow_the_memory():
    record = {"bytes": [1000, 100]}
    assert campaign._members_at_once(record, 40, 2, 5, memory=1e9) == 5
    assert campaign._members_at_once(record, 3, 2, 5, memory=1e9) == 3
    assert campaign._members_at_once(record, 40, 2, 40, memory=2 * 2 * 1730) == 7
    assert campaign._members_at_once(record, 40, 2, 40, memory=0) == 1


@pytest.mark.parametrize("chunk", [1, 3])
def test_any_chunking_in_worker_processes_gives_the_same_population(population, chunk, tmp_path):
    wanted = populations.Plan(
        training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 20, (4, 20), (0, 10, 20)
    )
    apart = campaign.train(wanted, workers=2, chunk=chunk, every=7, folder=tmp_path, progress=False)
    assert list(apart.members) == [0, 1, 2, 3]
    for layer in (1, 2):
        for iteration in (0, 10, 20):
            np.testing.assert_allclose(
                apart.kernels[layer][iteration], population.kernels[layer][iteration], rtol=0, atol=1e-5
            )


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(networks=0), "networks = 0"),
        (dict(iterations=-1, snapshots=()), "iterations = -1"),
        (dict(snapshots=(0, 21)), "snapshot = 21 must be a whole number from 0 to 20"),
        (dict(seed=-1), "seed = -1"),
        (dict(batch=0), "batch = 0"),
        (dict(batch=1501), "batch = 1501"),
        (dict(learning_rate=0.0), "learning_rate = 0.0"),
        (dict(learning_rate=float("nan")), "learning_rate = nan"),
        (dict(decay=0.0), "decay = 0.0"),
        (dict(decay_epochs=0), "decay_epochs = 0"),
        (dict(decay_epochs=(3, 2)), r"decay_epochs = \(3, 2\)"),
        (dict(decay_epochs=()), r"decay_epochs = \(\)"),
        (dict(anneal=-1), "anneal = -1"),
        (dict(anneal=10, decay=0.5), "anneal = 10 and decay = 0.5"),
        (dict(momentum=1.0, optimizer="sgd"), "momentum = 1.0"),
        (dict(momentum=0.9), "momentum = 0.9"),
        (dict(hold_out=1480), "batch = 32 is not allowed: digits has 1500 training images, of which 1480 are held out"),
        (dict(images=31), "images = 31 is not allowed: 0, or from batch = 32 on, and digits has 1500 training images"),
        (dict(images=1401, hold_out=100), "images = 1401 .* 1500 training images, of which 100 are held out"),
        (dict(first="circle"), "first = 'circle' is not one of random, primary circle, Klein bottle, nor the name"),
        (dict(architecture="M(0,4,8)", fixed=True), r"fixed = True are not allowed: M\(0,4,8\) has no first layer"),
        (dict(l2=-1.0), "l2 = -1.0"),
        (dict(crop=9), "crop = 9 is not allowed: the images of digits are 8 x 8"),
        (dict(optimizer="lion"), "optimizer = 'lion' is not one of adam, sgd"),
        (dict(max_pooling=False), "max_pooling = False"),
        (dict(seed=2**32), "seed = 4294967296"),
        (dict(l2=float("inf")), "l2 = inf"),
        (dict(members=[]), r"members = \[\]"),
        (dict(members=[3, 3]), r"members = \[3, 3\]"),
        (dict(members=[-1]), "member = -1"),
        (dict(dataset="fashion"), "'fashion' is not one of mnist"),
        (dict(architecture="M(8;4)"), "of the form"),
    ],
)
def test_what_is_out_of_range_is_named_before_anything_is_trained(changes, words):
    with pytest.raises(ValueError, match=words):
        training.train_population(**{"networks": 1, **SMALL, **changes})


@pytest.mark.parametrize(
    "changes", [dict(batch=32.5), dict(seed=1.5), dict(members=[1.5]), dict(snapshots=[2.5]), dict(iterations=True)]
)
def test_what_is_no_whole_number_is_named_before_anything_is_trained(changes):
    with refused(TypeError, match=f"{list(changes)[0].removesuffix('s')}.* must be a whole number"):
        training.train_population(**{"networks": 1, **SMALL, **changes})


@pytest.mark.parametrize("name", ["learning_rate", "l2", "decay", "momentum", "max_pooling", "fixed"])
def test_what_is_of_another_type_is_named_before_anything_is_trained(name):
    with refused(TypeError, match=f"{name}.* must be .*'0.1'|{name} = '0.1' must be"):
        training.Training(Architecture.parse("C(8,4,16)"), "digits", crop=6, **{name: "0.1"})


def test_an_unknown_formulation_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="formulation = 'plane' is not one of fused, plain, products"):
        training.train_population(**{"networks": 1, **SMALL, "formulation": "plane"})


@pytest.mark.parametrize("name", ["chunk", "every", "workers"])
def test_what_a_chunk_cannot_be_is_named(name, tmp_path):
    wanted = populations.plan("mnist-M-64-0-64", networks=1, iterations=1, dataset="digits")
    with pytest.raises(ValueError, match=f"{name} = 0 must be a whole number"):
        campaign.train(wanted, **{name: 0}, folder=tmp_path, progress=False)


def test_an_archive_of_other_settings_is_not_replaced(population, tmp_path):
    given = dict(networks=4, iterations=20, paper=(4, 20), snapshots=(0, 10, 20))
    parsed = Architecture.parse("C(8,4,16)")
    held = populations.Plan(training.Training(parsed, "digits", 32, crop=6), **given)
    populations.keep("held", held, population, tmp_path)
    populations.check_replaces("held", held, tmp_path)
    for changes in (dict(l2=0.0), dict(decay=1.0), dict(max_pooling=False), dict(seed=1)):
        other = populations.Plan(training.Training(parsed, "digits", 32, **{"crop": 6, **changes}), **given)
        with pytest.raises(ValueError, match=f"with other .*{list(changes)[0]}"):
            populations.check_replaces("held", other, tmp_path)


DEEP = {0: 2, 20: 3}  # networks of which the second layer is kept


def test_an_archive_is_completed_by_the_members_that_it_lacks(population, tmp_path, monkeypatch):
    chosen = training.Training(Architecture.parse("M(8,4,16)"), "digits", 32)
    goal = populations.Plan(chosen, 4, 20, (4, 20), (0, 10, 20), DEEP)
    begun = populations.Plan(chosen, 2, 20, (4, 20), (0, 10, 20), {0: 2, 20: 2})
    assert populations.members_held("some", goal, tmp_path / "apart") == 0
    how = dict(workers=1, folder=tmp_path / "checkpoints", progress=False)
    halves, train = {}, campaign.train

    def note(wanted, first):
        return halves.setdefault(first, train(wanted, first=first, **how))

    monkeypatch.setattr(campaign, "train", note)
    campaign.complete("some", begun, tmp_path / "apart")
    assert populations.members_held("some", begun, tmp_path / "apart") == 2
    completed = campaign.complete("some", goal, tmp_path / "apart")
    assert [part.members.tolist() for part in halves.values()] == [[0, 1], [2, 3]]
    populations.keep("some", goal, checkpoints.join(halves.values()), tmp_path / "at-once")
    at_once = archive.load("some", tmp_path / "at-once")
    spent = [each.description.pop("seconds") for each in (completed, at_once)]
    assert spent[0] == pytest.approx(spent[1], abs=1) and 0 < spent[0] < 600
    assert completed.description == at_once.description and completed.path.read_bytes() == at_once.path.read_bytes()
    np.testing.assert_allclose(completed.filters(1), population.filters(1), atol=2e-3)
    monkeypatch.setattr(campaign, "train", lambda *_, **__: pytest.fail("a member was trained that is held"))
    assert campaign.complete("some", goal, tmp_path / "apart").networks == 4
    with pytest.raises(ValueError, match="holds 4 networks x 20 iterations and would be lost"):
        campaign.complete("some", begun, tmp_path / "apart")


@pytest.mark.parametrize(
    "changes",
    [
        dict(iterations=30, snapshots=(0, 10, 20, 30), deep={0: 2, 30: 3}),
        dict(snapshots=(0, 5, 10, 20)),
        dict(deep={0: 3, 20: 3}),
        dict(training=training.Training(Architecture.parse("M(8,4,16)"), "digits", 32, seed=1)),
    ],
)
def test_members_of_another_training_are_not_held(changes, population, tmp_path):
    chosen = training.Training(Architecture.parse("M(8,4,16)"), "digits", 32)
    there = populations.Plan(chosen, 4, 20, (4, 20), (0, 10, 20), DEEP)
    populations.keep("some", there, population, tmp_path)
    assert populations.members_held("some", there, tmp_path) == 4
    assert populations.members_held("some", dataclasses.replace(there, **changes), tmp_path) == 0


def test_members_that_were_trained_with_a_setting_that_is_not_wanted_are_not_held(population, tmp_path):
    """The manifest says nothing of a setting without effect, so a comparison must not leave out those it does name."""
    plain, withheld = (
        populations.Plan(
            training.Training(Architecture.parse("M(8,4,16)"), "digits", 32, hold_out=count), 4, 20, (4, 20), (0, 20)
        )
        for count in (0, 300)
    )
    populations.keep("some", withheld, population, tmp_path)
    assert populations.members_held("some", withheld, tmp_path) == 4
    assert populations.members_held("some", plain, tmp_path) == 0


def test_later_members_never_replace_an_archive_that_lacks_those_before_them(population, tmp_path):
    plan = populations.Plan(training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 20, (4, 20), (0, 20))
    one, later = part(population, [0]), part(population, [2, 3])
    path = populations.keep("some", dataclasses.replace(plan, networks=1), one, tmp_path)
    before = path.read_bytes()
    for name, held in (("some", 1), ("none", 0)):
        with pytest.raises(ValueError, match=f"archive {name} in .* holds {held} of the networks before network 2"):
            populations.keep(name, plan, later, tmp_path)
    assert path.read_bytes() == before and set(archive.manifest(tmp_path)) == {"some"}


def part(population, members, **changes):
    """Some members of a population."""
    kernels = {layer: {s: kept[s][members] for s in kept} for layer, kept in population.kernels.items()}
    accuracy = {s: values[members] for s, values in population.accuracy.items()}
    return population._replace(members=population.members[members], kernels=kernels, accuracy=accuracy, **changes)


def test_left_out_members_stay_noted_when_an_archive_is_completed(population, tmp_path):
    plan = populations.Plan(training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 20, (4, 20), (0, 20))
    parts = (
        part(population, [0], left_out={1: 20}, hardware="one", seconds=20.2),
        part(population, [3], left_out={2: 10}, hardware="another", seconds=30.0),
    )
    populations.keep("some", dataclasses.replace(plan, networks=2), parts[0], tmp_path)
    assert populations.members_held("some", plan, tmp_path) == 2
    populations.keep("some", plan, parts[1], tmp_path)
    kept = archive.load("some", tmp_path)
    assert kept.description["members"] == [0, 3] and set(kept.description["left_out"]) == {"1", "2"}
    assert kept.description["hardware"] == "another and one" and len(kept.accuracy()) == 2
    assert kept.description["seconds"] == 50
    assert populations.members_held("some", plan, tmp_path) == 4


def test_an_archive_grows_by_networks_that_all_lost_their_weights(population, tmp_path, monkeypatch):
    plan = populations.Plan(training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 20, (4, 20), (0, 20))
    populations.keep("some", dataclasses.replace(plan, networks=2), part(population, [0, 1]), tmp_path)
    lost = part(population, [], left_out={2: 20, 3: 20}, hardware="one", seconds=1.0)
    monkeypatch.setattr(campaign, "shares_locks", lambda: False)
    monkeypatch.setattr(campaign, "_train_here", lambda *_: [lost])
    kept = campaign.complete("some", plan, tmp_path, progress=False)
    assert kept.description["members"] == [0, 1] and set(kept.description["left_out"]) == {"2", "3"}
    with pytest.raises(ValueError, match="no network is left: all 2 lost their weights"):
        campaign.complete("none", plan, tmp_path, progress=False)


@pytest.mark.parametrize("first", [4, 9])
def test_a_first_member_beyond_the_last_is_refused(first, tmp_path):
    wanted = populations.plan("mnist-M-64-0-64", networks=4, iterations=1, dataset="digits")
    with pytest.raises(ValueError, match=f"first = {first} must be less than networks = 4"):
        campaign.train(wanted, folder=tmp_path, progress=False, first=first)


def test_campaign_names_and_checkpoint_names():
    with pytest.raises(ValueError, match="mnist-M-64-32-64"):
        populations.plan("mnist-M-1-1-1")
    assert populations.plan("mnist-M-64-32-64-batch-124").deep == {1000: 1}
    assert populations.plan("mnist-M-64-32-64-batch-124", iterations=200).deep == {200: 1}
    wanted = populations.plan("mnist-M-64-32-64", networks=7, iterations=250)
    assert wanted.snapshots == (0, 50, 100, 200, 250) and wanted.networks == 7
    names = {
        checkpoints.checkpoint_path(populations.plan("mnist-M-64-32-64", seed=s).training, range(5)) for s in (0, 1)
    }
    assert len(names) == 2


def test_every_population_of_the_campaign_can_be_built_and_names_its_own_snapshots():
    built = set()
    for name, goal in populations.POPULATIONS.items():
        assert goal.iterations in goal.snapshots and goal.snapshots[0] == 0, name
        for layer in goal.training.architecture.layers:
            assert set(goal.kept(layer)) <= set(goal.snapshots) and max(goal.kept(layer)) == goal.iterations
        small = populations.plan(name, networks=1, iterations=100)
        assert set(small.kept(2)) <= {0, 100} | set(goal.snapshots) and set(small.kept(2).values()) == {1}
        alike = training.measurement_key(goal.training), goal.training.first
        if alike in built:
            continue
        built.add(alike)
        trainer = training.Trainer(goal.training, datasets.stand_in(goal.training.dataset))
        assert jax.eval_shape(lambda: trainer.initial([0, 1])).loss.shape == (2,)  # noqa: B023


def test_deeper_layers_are_kept_of_fewer_networks(population, tmp_path):
    wanted = populations.Plan(
        training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 20, (4, 20), (0, 10, 20), {0: 2, 20: 3}
    )
    populations.keep("few", wanted, population, tmp_path)
    kept = archive.load("few", tmp_path)
    assert kept.networks == 4 and kept.kernels(1, 10).shape[0] == 4 and kept.iterations(2) == [0, 20]
    assert kept.kernels(2, 0).shape[0] == 2 and kept.kernels(2).shape[0] == 3
    with pytest.raises(
        ValueError, match="networks = 3 must be .* from 1 to 2: .* has layer 2 at iteration 0 of so many"
    ):
        kept.filters(2, 0, 3)


def test_the_listing_measures_what_the_rest_would_cost(population, tmp_path, monkeypatch):
    goal = populations.Plan(
        training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 40, (10, 100, 98.5), (0, 20, 40)
    )
    half = populations.Plan(goal.training, 4, 20, (10, 100), (0, 10, 20))
    monkeypatch.setattr(campaign, "POPULATIONS", {"small": goal, "none": goal})
    populations.keep("small", half, population, tmp_path)
    small, none = campaign.listing(["small", "none"], tmp_path, workers=1)
    assert (small["archived"], small["ours"], small["the paper's"]) == ("4 x 20", "4 x 40", "10 x 100")
    assert none["archived"] == "nothing" and float(none["ms an iteration"]) > 0
    reached = 100 * population.accuracy[20].mean()
    assert float(small["accuracy, %"]) == pytest.approx(reached, abs=0.06) and none["accuracy, %"] == ""
    assert small["the paper's, %"] == none["the paper's, %"] == "98.5"
    assert (
        campaign._cost(0.1, 2, (4, 20), (10, 100)) == pytest.approx(46)
        and campaign._cost(0.1, 2, (100, 1000), (40, 1000)) == 0
    )
    assert campaign._cost(0.1, 2, (0, 0), (1, 100)) == pytest.approx(10)


def test_a_population_that_the_paper_has_not_is_listed_and_kept_without_its_scale(population, tmp_path, monkeypatch):
    chosen = training.Training(Architecture.parse("M(8,4,16)"), "digits", 32, first="random")
    ours = populations.Plan(chosen, 4, 20, None, (0, 10, 20), last_only=True)
    monkeypatch.setattr(campaign, "POPULATIONS", {"ours": ours})
    populations.keep("ours", ours, population, tmp_path)
    (row,) = campaign.listing(["ours"], tmp_path, workers=1)
    assert (row["archived"], row["the paper's"], row["left to the paper's"]) == ("4 x 20", "none", "none")
    assert row["the paper's, %"] == ""
    kept = archive.load("ours", tmp_path)
    assert kept.iterations(1) == kept.iterations(2) == [20] and "paper" not in kept.description
    np.testing.assert_allclose(kept.accuracy(10), population.accuracy[10], atol=1e-4)
    assert populations.members_held("ours", ours, tmp_path) == 4


def test_trainings_that_differ_in_their_recipe_only_are_timed_once_and_the_times_are_kept(monkeypatch):
    timed, kept, key = [], {}, training.measurement_key
    monkeypatch.setattr(training, "read_measurement", lambda wanted, threads=None: kept.get(key(wanted, threads)))
    monkeypatch.setattr(
        training, "keep_measurement", lambda wanted, record, threads: kept.update({key(wanted, threads): record})
    )
    monkeypatch.setattr(campaign, "dask_client", lambda workers, scheduler: nullcontext(Here(timed)))
    monkeypatch.setattr(campaign, "accelerated", lambda: False)
    first, second = (
        training.Training(Architecture.parse("C(8,0,8)"), "digits", crop=6, learning_rate=r) for r in (1, 2)
    )
    other = training.Training(Architecture.parse("C(8,0,16)"), "digits", crop=6)
    seconds = campaign._seconds_each([first, second, other], 1)
    monkeypatch.setenv("NPROC", "7")  # what this process has is not what its workers have
    assert seconds[first] == seconds[second] != seconds[other] and len(timed) == 2
    assert campaign._seconds_each([first, second, other], 1) == seconds and len(timed) == 2
    campaign._seconds_each([first], 2)  # beside another worker it may take longer
    assert len(timed) == 3 and all(record["formulation"] == "fast" for record in kept.values())
    assert sorted(len(record["seconds beside"]) for record in kept.values()) == [1, 2]


class Here:
    """A client whose one worker measures at once, and takes as many seconds as trainings were timed before."""

    def __init__(self, timed):
        self.timed = timed

    def submit(self, function, wanted, *rest, **how):
        answer = Future()
        if function is campaign._time_one:
            self.timed.append(wanted)
            answer.set_result(len(self.timed))
        else:
            answer.set_result(training.read_measurement(wanted) or {"formulation": "fast"})
        return answer

    def nthreads(self):
        return {"here": 1}


@pytest.mark.parametrize(
    "seconds, words", [(0, "none"), (2, "1 min"), (3000, "50 min"), (7200, "2.0 h"), (864_000, "10.0 days")]
)
def test_durations_are_said_in_words(seconds, words):
    assert campaign._duration(seconds) == words


def test_kept_archives_hold_what_was_trained(population, tmp_path):
    wanted = populations.Plan(
        training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 20, (100, 40_000), (0, 10, 20)
    )
    populations.keep("digits-M-8-4-16", wanted, population, tmp_path)
    kept = archive.load("digits-M-8-4-16", tmp_path)
    assert kept.networks == 4 and kept.iterations(1) == [0, 10, 20] and kept.iterations(2) == [0, 20]
    np.testing.assert_allclose(kept.filters(2, 20), population.filters(2, 20), rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(kept.accuracy(), population.accuracy[20], atol=1e-4)
    assert kept.description["paper"] == {"networks": 100, "iterations": 40_000}
    assert kept.description["hardware"] and kept.description["versions"]["jax"]

"""Training configurations: the settings that fix a population's weights, and values for those the paper leaves open.

Knows names and numbers and which of them fit together; must not know how a network is trained.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import optax

from topo import datasets
from topo.checks import check_fraction, check_number, check_whole
from topo.notation import Architecture, DeepArchitecture
from topo.types import Number, Whole


class Recipe(NamedTuple):
    """Values for the settings that the paper leaves open; the docstring of `Training` says what each one means."""

    optimizer: str
    learning_rate: Number
    decay: Number
    decay_epochs: int | tuple[int, ...]
    l2: Number
    crop: int
    pad: int


# What the paper does not give. M: Kingma and Ba's defaults. C: TensorFlow 1's CIFAR-10 tutorial, whose words the
# paper's description follows. D: not the paper's; Adam, as it trains thirteen layers without normalisation.
_RECIPES = {
    "M": Recipe(optimizer="adam", learning_rate=1e-3, decay=1.0, decay_epochs=350, l2=0.0, crop=0, pad=0),
    "C": Recipe(optimizer="sgd", learning_rate=0.1, decay=0.1, decay_epochs=350, l2=0.004, crop=24, pad=0),
    "D": Recipe(optimizer="adam", learning_rate=5e-4, decay=0.1, decay_epochs=16, l2=0.0, crop=32, pad=4),
}
_NEUTRAL = {
    **dict(decay=1.0, l2=0.0, crop=0, pad=0, max_pooling=True, momentum=0.0, anneal=0, hold_out=0),
    **dict(images=0, first="", fixed=False),
}
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {"adam": optax.adam, "sgd": optax.sgd}


@dataclass(frozen=True)
class Training:
    """Training configuration. With the member numbers and the iteration count it fixes the weights.

    architecture: section 5, Tables 1 and 2, or a deep one of our own.
    dataset: a name of datasets.SOURCES.
    batch: images per iteration; 128 in section 5.1 (124 elsewhere in the paper).
    seed: member i draws everything random from fold_in(key(seed), i); below 2**32.
    max_pooling: whether a network of the C family pools (section 5.2.2 has one that does not).

    The rest is what the paper leaves open. A setting that is given as None gets the value of the architecture's family,
    so that none is None in a Training that was made; `recipe` has the values.

    optimizer: "adam" (Table 1; its other settings are Kingma and Ba's) or "sgd" (Table 2).
    momentum: of "sgd", at least 0 and below 1; 0 is plain gradient descent.
    learning_rate: M 1e-3 (Adam's default), C 0.1 (TensorFlow 1's CIFAR-10 tutorial), D 5e-4 (ours).
    decay, decay_epochs: the learning rate is multiplied by `decay` after every so many epochs, or at the end of each
        of the epochs listed in a tuple: M 1 (never), C 0.1 after 350 (the tutorial), D 0.1 after 16 (ours).
    anneal: where it is not 0, the learning rate falls along half a cosine from `learning_rate` to 0 at this iteration,
        and stays there; `decay` is then 1.
    l2: weight of half the squared norm of the dense layer's kernel in the loss: C 0.004 (the tutorial), else 0.
    crop: side in pixels of a random crop, after which the image is flipped left to right half of the time, centred
        and divided by its standard deviation; tests see the middle of the image. C 24 (the tutorial), D 32.
        0 leaves the image as it is, divided by 255: M.
    pad: zeros put around the image before it is cropped: D 4, else 0.
    hold_out: how many training images, the last ones of the data set, are never trained on; accuracies are then of
        these images instead of the test images.
    images: how many training images, the first ones of the data set, are learned from; 0 for all but those held out.
    first: what the first layer begins with, as `topo.starts.starting_filters` names it; "" for independent weights.
        Each filter is drawn from those, is the same in every input channel, and has the norm of independent weights.
    fixed: whether the first layer's kernel stays as it began; its biases are learned all the same.

    Raises TypeError or ValueError for a value out of range, naming it.
    """

    architecture: Architecture | DeepArchitecture
    dataset: str = "mnist"
    batch: Whole = 128
    learning_rate: Number | None = None
    seed: Whole = 0
    optimizer: str | None = None
    decay: Number | None = None
    decay_epochs: Whole | Sequence[Whole] | None = None
    l2: Number | None = None
    crop: Whole | None = None
    pad: Whole | None = None
    max_pooling: bool = True
    momentum: Number = 0.0
    anneal: Whole = 0
    hold_out: Whole = 0
    images: Whole = 0
    first: str = ""
    fixed: bool = False

    def __post_init__(self) -> None:
        if self.anneal and self.decay is None:
            object.__setattr__(self, "decay", 1.0)
        for name, value in _RECIPES[self.architecture.family]._asdict().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        shape = datasets.source(self.dataset).shape
        for name in ("batch", "seed", "crop", "pad", "anneal", "hold_out", "images"):
            check_whole(getattr(self, name), name, 1 if name == "batch" else 0, 2**32 - 1)
            object.__setattr__(self, name, int(getattr(self, name)))
        for name in ("max_pooling", "fixed"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} = {getattr(self, name)!r} must be True or False")
        for name in ("learning_rate", "decay", "l2", "momentum"):
            if isinstance(getattr(self, name), np.number):  # JSON, in which checkpoints are named, has none of these
                object.__setattr__(self, name, getattr(self, name).item())
        self._check_decay()
        check_fits(self, self.dataset, shape)
        recipe = self.recipe
        if recipe.pad and not recipe.crop:
            raise ValueError(f"pad = {recipe.pad} is not allowed without a crop: tests see images as they are")
        check_number(recipe.l2, "l2", 0)
        check_number(recipe.learning_rate, "learning_rate", 0, above=True)
        check_number(self.momentum, "momentum")
        if not 0 <= self.momentum < 1 or (self.momentum and recipe.optimizer != "sgd"):
            allowed = "at least 0 and below 1, and 0 unless the optimizer is sgd"
            raise ValueError(f"momentum = {self.momentum} is not allowed: {allowed}")
        if recipe.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer = {recipe.optimizer!r} is not one of {', '.join(OPTIMIZERS)}")
        if self.architecture.family != "C" and not self.max_pooling:
            only = f"only networks of family C go without, not {self.architecture}"
            raise ValueError(f"max_pooling = False is not allowed: {only}")
        if (self.first or self.fixed) and not getattr(self.architecture, "conv1", True):
            given = f"first = {self.first!r} and fixed = {self.fixed}"
            raise ValueError(f"{given} are not allowed: {self.architecture} has no first layer")

    def _check_decay(self) -> None:
        decay, given = self.recipe.decay, self.recipe.decay_epochs
        check_fraction(decay, "decay")
        if self.anneal and decay < 1:
            why = "a cosine has no steps, decay must be 1"
            raise ValueError(f"anneal = {self.anneal} and decay = {decay} are not allowed together: {why}")
        epochs = tuple(given) if isinstance(given, (list, tuple)) else (given,)
        for epoch in epochs:
            check_whole(epoch, "decay_epochs", 1, 2**32 - 1)
        if not epochs or list(epochs) != sorted(set(epochs)):
            raise ValueError(f"decay_epochs = {given} is not allowed: one epoch or more, ascending")
        whole = tuple(map(int, epochs))
        object.__setattr__(self, "decay_epochs", whole if isinstance(given, (list, tuple)) else whole[0])

    @property
    def recipe(self) -> Recipe:
        """The values of the settings that may be given as None."""
        return Recipe(*(getattr(self, name) for name in Recipe._fields))

    def describe(self) -> dict[str, Any]:
        """The same as a dict for JSON, without settings that are off, such as l2 = 0, or that have no effect."""
        description = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        description["architecture"] = str(self.architecture)
        unused = {name for name, neutral in _NEUTRAL.items() if description[name] == neutral}
        unused |= {"decay_epochs"} if self.decay == 1 else set()
        return {name: value for name, value in description.items() if name not in unused}


def in_words(description: Mapping[str, Any]) -> dict[str, str]:
    """What `Training.describe` says, or an archive's manifest, as the rows of a table for readers.

    Returns {setting: words}, such as {"optimiser": "SGD, momentum 0.9"}. Settings without effect are said to be absent.
    """
    known = {**_NEUTRAL, **description}
    rate, momentum = f"{known['learning_rate']:g}", f", momentum {known['momentum']:g}" if known["momentum"] else ""
    if known["anneal"]:
        schedule = f"{rate}, along half a cosine to 0 at iteration {known['anneal']:,}"
    elif known["decay"] == 1:
        schedule = f"{rate}, constant"
    elif isinstance(known["decay_epochs"], int):
        schedule = f"{rate}, times {known['decay']:g} after every {known['decay_epochs']} epochs"
    else:
        ends = " and of epoch ".join(map(str, known["decay_epochs"]))
        schedule = f"{rate}, times {known['decay']:g} at the end of epoch {ends}"
    side, pad = known["crop"], f", after {known['pad']} zeros around it" if known["pad"] else ""
    crop = f"random {side} x {side}{pad}, flipped half of the time, standardised" if side else "none; divided by 255"
    pooling = "" if known["max_pooling"] else ", without max-pooling"
    begins = f"begins with filters of {known['first']}" if known["first"] else "begins with independent weights"
    first = {"first layer": begins + (", which stay" if known["fixed"] else "")}
    return {
        "network": f"{known['architecture']}{pooling}",
        "data set": known["dataset"],
        "optimiser": f"{known['optimizer'].upper() if known['optimizer'] == 'sgd' else 'Adam'}{momentum}",
        "learning rate": schedule,
        "L2 loss of the dense layer": f"{known['l2']:g}" if known["l2"] else "none",
        "images to a minibatch": f"{known['batch']}",
        "crop": crop,
        "seed": f"{known['seed']}",
        **({"images learned from": f"the first {known['images']:,}"} if known["images"] else {}),
        **(first if known["first"] or known["fixed"] else {}),
    }


def judged_on(training: Training) -> str:
    """Which images the accuracies of a population are of, in words."""
    count = training.hold_out
    return f"the last {count:,} training images, never trained on" if count else "the test images"


def check_fits(training: Training, name: str, shape: Sequence[int]) -> None:
    """Raise ValueError where the images of the data set `name` are too few or too small for `training`.

    shape: of the training images, (count, height, width, channels).
    """
    count, *size, _ = shape
    held = f", of which {training.hold_out} are held out" if training.hold_out else ""
    if count - training.hold_out < training.batch:
        raise ValueError(f"batch = {training.batch} is not allowed: {name} has {count} training images{held}")
    if training.images and not training.batch <= training.images <= count - training.hold_out:
        allowed = f"0, or from batch = {training.batch} on, and {name} has {count} training images{held}"
        raise ValueError(f"images = {training.images} is not allowed: {allowed}")
    crop = training.recipe.crop
    if crop > min(size):
        raise ValueError(f"crop = {crop} is not allowed: the images of {name} are {size[0]} x {size[1]}")


def learning_rate(training: Training, epoch: int) -> Number | optax.Schedule:
    """The learning rate of `training`: a number, or an optax schedule over iterations.

    epoch: how many iterations make an epoch.
    """
    rate, decay, epochs = training.recipe.learning_rate, training.recipe.decay, training.recipe.decay_epochs
    if training.anneal:
        return optax.cosine_decay_schedule(rate, training.anneal)
    if decay == 1:
        return rate
    if isinstance(epochs, tuple):
        return optax.piecewise_constant_schedule(rate, {each * epoch: decay for each in epochs})
    return optax.exponential_decay(rate, epochs * epoch, decay, staircase=True)

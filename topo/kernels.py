"""Which arrays of a weight file are kernels of convolutions, how they lie, and what their layers are called.

Knows the habits of Keras, Flax and PyTorch; must not know file formats, nor what is done with the filters.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_dtypes import bfloat16

from topo.tensors import Contents, Refused, Tensor

Shape = tuple[int, int, int, int]

MOST = 31  # the largest height or width of a kernel: larger axes are channels
LAYER_BYTES = 4 * 2**30  # the largest single layer that is read
PERHAPS_TRANSPOSED = "convolution or transposed"
PERHAPS_DEPTHWISE = "depthwise or of one channel"

# Which axes of an array are the kernel's (h, w, in, out).
LAYOUTS: dict[str, Shape] = {"HWIO": (0, 1, 2, 3), "OIHW": (2, 3, 1, 0)}


class Layer(NamedTuple):
    """A convolutional layer of a weight file: `shape` is that of its kernel, (h, w, in, out).

    kind: "convolution", "grouped", "depthwise" or "transposed", where the file says so; "convolution or transposed" or
    "depthwise or of one channel" where it may be either. groups: how many groups of channels it has, None where the
    file does not say; in of `shape`, or out where it is transposed, is the number of channels of one group.
    """

    name: str
    shape: Shape
    kind: str = "convolution"
    groups: int | None = 1

    @property
    def filters(self) -> int:
        """How many spatial filters it has."""
        return self.shape[2] * self.shape[3]

    @property
    def channels(self) -> tuple[int | str, int | str]:
        """How many channels go in and out; "" for what the file does not say."""
        _, _, inputs, outputs = self.shape
        if self.kind == PERHAPS_TRANSPOSED and inputs != outputs:
            return "", ""
        if self.kind == "transposed":
            return inputs, outputs * (self.groups or 1)
        return "" if self.groups is None else inputs * self.groups, outputs


class Kernel(NamedTuple):
    """Where a layer's kernel is: its array, and which axes of this are (h, w, in, out)."""

    tensor: Tensor
    axes: Shape


def kernels(contents: Contents, layout: str | None, path: Path) -> tuple[list[tuple[Layer, Kernel]], dict[str, str]]:
    """The layers of a file, with their kernels, and {name: why} of the arrays with four axes that are none.

    layout: "HWIO" or "OIHW", or None to tell it by the file. path: how messages call the file.
    Raises Refused where nothing in the file tells the layout.
    """
    every = [tensor for tensor in contents.tensors if len(tensor.shape) == 4 or tensor.why]
    skipped = {tensor.key: why for tensor in every if (why := tensor.why or _no_kernel(tensor))}
    candidates = [tensor for tensor in every if tensor.key not in skipped]
    originals = [tensor for tensor in candidates if not _is_average(tensor)]
    if originals:
        skipped |= {each.key: "an average of another kernel" for each in candidates if _is_average(each)}
        candidates = originals
    layout = layout or _layout(candidates, contents.layout, path)
    fitting = [tensor for tensor in candidates if layout and _fits(tensor, layout)]
    for tensor in candidates:
        if tensor not in fitting:
            usual = f" {layout}" if layout else ""
            skipped[tensor.key] = f"shape {tensor.shape} is no{usual} kernel of at most {MOST} x {MOST}"
    lengths = {tensor.key: tensor.shape[0] for tensor in contents.tensors if len(tensor.shape) == 1}
    names = _names(fitting)
    found = [_layer(name, tensor, layout, lengths) for name, tensor in zip(names, fitting) if layout]
    return found, {tensor.key: skipped[tensor.key] for tensor in every if tensor.key in skipped}


# Which arrays are kernels

_OPTIMIZER = re.compile(
    r"(\w+_)?optim(izer)?s?(_(weights?|states?|state_dict|vars|variables|[a-z]|\d+))?|opt_(states?|vars|weights)|"
    r"exp_avg(_sq)?|momentum_buffer|square_avg"
)
_SLOT = re.compile(r"(adam\w?|rmsprop|momentum|velocity|adagrad|adadelta|ftrl|nadam|lion)(_\d+)?")
_AVERAGE = re.compile(
    r"(\w+_ema|ema_(model|net|network|params?|parameters|states?|state_dict|weights?|vars|variables|unet|\d+)|"
    r"averaged?_model|swa_model|exponential_?moving_?average|shadow_params)(_\d+)?"
)
_POSITION = re.compile(r"(\w+_)?pos(ition(al)?)?_?(emb\w*|enc\w*|bias\w*|table)(_\d+)?")
_CONSTANT = re.compile(
    r"consts?(_\d+)?|constants?(_\d+)?|\w*bias(es)?|beta|gamma|scale|shift|(running_|moving_)?(mean|var(iance)?|std)|"
    r"\w*mask|\w*tokens?|anchors?(_grid)?|weight_g|original0"  # the last two are norms, of PyTorch's weight norm
)
_OWN = re.compile(r"(weights?|kernel|value|embeddings?|w|\d+|vars)")  # what the array of a layer is called
_WRAPPERS = {"state_dict", "model_state_dict", "module", "model", "params"}


def _parts(tensor: Tensor) -> list[str]:
    return re.split(r"[/.]", re.sub(r":\d+$", "", tensor.key).lower())


def _owner(tensor: Tensor) -> str:
    """The last part of a key that names something: conv for net.conv.0.weight."""
    return next((part for part in reversed(_parts(tensor)) if not _OWN.fullmatch(part)), "")


def _no_kernel(tensor: Tensor) -> str:
    """Why an array is no kernel, as far as its name, its numbers and its size say; otherwise ""."""
    parts = _parts(tensor) if not tensor.kind else [""]  # a layer that the file describes may have any name
    if any(_OPTIMIZER.fullmatch(part) for part in parts) or _SLOT.fullmatch(parts[-1]):
        return "the state of an optimizer"
    if not tensor.kind and _POSITION.fullmatch(_owner(tensor)):
        return "an embedding of positions"
    if _CONSTANT.fullmatch(parts[-1]):
        return "a constant, by its name"
    if tensor.dtype.kind != "f" and tensor.dtype != bfloat16:
        quantised = ": integers need a scale, which the array does not have" if tensor.dtype.kind in "iu" else ""
        return f"{tensor.dtype} is no type of weights{quantised}"
    if 0 in tensor.shape:
        return f"shape {tensor.shape} is empty"
    size = np.prod(tensor.shape, dtype=object) * tensor.dtype.itemsize
    if size > LAYER_BYTES:
        most = f"more than the {LAYER_BYTES / 2**30:.0f} GiB that are read"
        return f"shape {tensor.shape} of {tensor.dtype} takes {size / 2**30:.0f} GiB, {most}"
    return ""


def _is_average(tensor: Tensor) -> bool:
    """Whether a name says that the array is an average over the training, such as a copy that follows the weights."""
    if tensor.kind:
        return False
    parts = _parts(tensor)
    first = next((part for part in parts if part not in _WRAPPERS), "")
    return "ema" in (first, parts[-1]) or any(_AVERAGE.fullmatch(part) for part in parts)


# How they lie


def _sides(tensor: Tensor, layout: str) -> tuple[int, int]:
    height, width = LAYOUTS[layout][:2]
    return tensor.shape[height], tensor.shape[width]


def _fits(tensor: Tensor, layout: str) -> bool:
    return max(_sides(tensor, layout)) <= MOST


def _is_square(tensor: Tensor, layout: str) -> bool:
    """Whether kernels are square. (16, 16, 1, 7) does not count: its 16 x 16 may be the channels of a 1 x 7."""
    height, width = _sides(tensor, layout)
    low, high = sorted(_sides(tensor, "OIHW" if layout == "HWIO" else "HWIO"))
    return height == width and not (low == 1 and high % 2 == 1 and high < height)


def _layout(tensors: Sequence[Tensor], said: str | None, path: Path) -> str | None:
    """The layout of all arrays of a file; None where none has a kernel's shape.

    It is the one that the arrays allow by their size; otherwise what the file says; otherwise the one in which the
    kernels are square. Raises Refused where these arrays contradict each other, or where there are none.
    """
    candidates = [tensor for tensor in tensors if any(_fits(tensor, layout) for layout in LAYOUTS)]
    if not candidates:
        return None
    if said and all(tensor.kind for tensor in candidates):
        return said
    deciding = [tensor for tensor in candidates if _OWN.fullmatch(_parts(tensor)[-1])] or candidates
    by_size, by_side = _votes(deciding, _fits), _votes(deciding, _is_square)
    if len(by_size) == 1:
        return next(iter(by_size))
    if said:
        return said
    if not by_size and len(by_side) == 1:
        return next(iter(by_side))
    votes = by_size or by_side
    why = "; ".join(f"{each.key} of shape {each.shape} must be {layout}" for layout, each in votes.items())
    undecided = f"{candidates[0].key} of shape {candidates[0].shape} may be either"
    ways = "--layout HWIO (height, width, in, out: Keras, Flax) or --layout OIHW (out, in, height, width: PyTorch)"
    raise Refused(
        f"{path} does not say which axes of its kernels are height and width ({why or undecided}). Say it by {ways}; "
        f'in Python, layout="HWIO" or "OIHW"'
    )


def _votes(tensors: Sequence[Tensor], allowed: Callable[[Tensor, str], bool]) -> dict[str, Tensor]:
    """{layout: the first array that allows this one and not the other}."""
    votes: dict[str, Tensor] = {}
    for tensor in tensors:
        fitting = [layout for layout in LAYOUTS if allowed(tensor, layout)]
        if len(fitting) == 1:
            votes.setdefault(fitting[0], tensor)
    return votes


# What they are

_BY_CHANNEL = re.compile(r"(depth_?wise|(?<![a-z])dw(?=_?conv|[^a-z]|$))|(point_?wise|(?<![a-z])pw(?=_?conv|[^a-z]|$))")
_UPWARDS = re.compile(
    r"(?<![a-z])(ups?|up_?samp\w*|up_?conv\w*|deconv\w*|conv_?\d*d?_?t(rans\w*)?|t_?conv\w*)(?![a-z])|transpos"
)


def _layer(name: str, tensor: Tensor, layout: str, lengths: Mapping[str, int]) -> tuple[Layer, Kernel]:
    """The layer of a kernel. What the file does not say is told by the length of its bias, and by its name."""
    axes = LAYOUTS[layout]
    height, width, inputs, outputs = (tensor.shape[axis] for axis in axes)
    plain = Layer(name, (height, width, inputs, outputs)), Kernel(tensor, axes)
    transposed = Kernel(tensor, (axes[0], axes[1], axes[3], axes[2]))
    swapped = Layer(name, (height, width, outputs, inputs), "transposed", tensor.groups)
    if tensor.kind == "transposed":
        return swapped, transposed
    if tensor.kind in ("convolution", "grouped") or (tensor.kind == "depthwise" and tensor.groups > 1):
        return plain[0]._replace(kind=tensor.kind, groups=tensor.groups), plain[1]
    bias = _bias(tensor, lengths)
    words = _BY_CHANNEL.findall(tensor.key.lower())
    by_channel = tensor.kind == "depthwise" or bool(words and words[-1][0])
    if layout == "HWIO" and (by_channel or (outputs == 1 and bias == inputs > 1)):  # Keras: (h, w, channels, multiple)
        groups = inputs if inputs > 1 else outputs
        return Layer(name, (height, width, 1, inputs * outputs), "depthwise", groups), plain[1]
    if bias == inputs != outputs:
        return swapped, transposed
    if inputs == 1 < outputs:
        known = plain[0]._replace(kind="depthwise", groups=outputs)
        return known if by_channel else known._replace(kind=PERHAPS_DEPTHWISE, groups=None), plain[1]
    even = height % 2 == 0 or width % 2 == 0
    if bias != outputs and (even or _UPWARDS.search(_owner(tensor))):
        return plain[0]._replace(kind=PERHAPS_TRANSPOSED), plain[1]
    return plain


def _bias(tensor: Tensor, lengths: Mapping[str, int]) -> int | None:
    """The length of the bias beside a kernel."""
    key = re.sub(r"(weight|(depthwise_)?kernel)(?=(:0)?$)", "bias", tensor.key)
    return lengths.get(re.sub(r"/0$", "/1", key))


# What they are called

_SCAFFOLDING = re.compile(r"model_weights|_?layers|_layer_checkpoint_dependencies|params|state_dict")
_ARRAY = re.compile(r"(/vars)?/\d+$|[/.](weights?|(depthwise_)?kernel(:0)?|[^/.]*_W(_1)?:0)$")


def _names(tensors: Sequence[Tensor]) -> list[str]:
    """Short names of layers, such as block1_conv1 for block1_conv1/block1_conv1_W_1:0; keys where two are alike."""

    def short(key: str) -> str:
        name = _ARRAY.sub("", key)
        if "/" not in key:
            return name
        return "/".join(dict.fromkeys(part for part in name.split("/") if not _SCAFFOLDING.fullmatch(part))) or key

    names = [tensor.name or short(tensor.key) for tensor in tensors]
    counts = Counter(names)
    names = [name if counts[name] == 1 else tensor.key for name, tensor in zip(names, tensors)]
    return names if len(set(names)) == len(names) else [tensor.key for tensor in tensors]

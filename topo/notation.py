"""The paper's notation for architectures, "M(64,32,64)", "C(64,0,64)", and ours for the deep one, "D(16)".

Parses, validates and formats; must not know what a network computes.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

_FAMILIES = {"M": "MNIST, Table 1", "C": "CIFAR-10, Table 2"}
_PATTERN = re.compile(r"\s*([A-Za-z]+)\s*\(\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)\s*\)\s*")
_DEEP = re.compile(r"\s*[Dd]\s*\(\s*(-?\d+)\s*\)\s*")
_WIDEST = 4096
_MULTIPLES = (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)


def _check_width(name: str, width: object, least: int) -> None:
    if isinstance(width, bool) or not isinstance(width, int) or not least <= width <= _WIDEST:
        raise ValueError(f"architecture width {name} = {width!r} is not a whole number from {least} to {_WIDEST}")


@dataclass(frozen=True)
class Architecture:
    """A network type of the paper: family and widths (section 5, Tables 1 and 2).

    family: "M" (MNIST) or "C" (CIFAR-10).
    conv1, conv2: filters of the two convolutional layers; 0 removes the layer's whole block.
    dense: nodes of the fully connected layer; 0 removes its block.

    Raises ValueError for an unknown family, a width outside 0..4096, or no convolution at all.

    >>> str(Architecture.parse("M(64,32,64)"))
    'M(64,32,64)'
    """

    family: str
    conv1: int
    conv2: int
    dense: int

    def __post_init__(self) -> None:
        if self.family not in _FAMILIES:
            allowed = ", ".join(f"{k} ({v})" for k, v in _FAMILIES.items())
            raise ValueError(f"architecture family {self.family!r} is not one of {allowed}")
        for name in ("conv1", "conv2", "dense"):
            _check_width(name, getattr(self, name), 0)
        if not (self.conv1 or self.conv2):
            reason = "one of the first two numbers must be positive"
            raise ValueError(f"architecture {self} has no convolutional layer: {reason}")

    @classmethod
    def parse(cls, text: "str | Architecture | DeepArchitecture") -> "Architecture | DeepArchitecture":
        """The Architecture that `text` names, such as "M(64,32,64)", or the DeepArchitecture "D(16)".

        White space is ignored; what is an architecture already is returned as it is.
        Raises TypeError where `text` is no string, ValueError where it is not of that form or a width is not allowed.
        """
        if isinstance(text, (Architecture, DeepArchitecture)):
            return text
        if not isinstance(text, str):
            raise TypeError(f"an architecture is written as text such as 'M(64,32,64)', not {type(text).__name__}")
        if match := _DEEP.fullmatch(text):
            return DeepArchitecture(int(match[1]))
        match = _PATTERN.fullmatch(text)
        if not match:
            raise ValueError(f"architecture {text!r} is not of the form 'M(64,32,64)', 'C(64,32,64)' or 'D(16)'")
        return cls(match[1].upper(), *map(int, match.groups()[1:]))

    def __str__(self) -> str:
        return f"{self.family}({self.conv1},{self.conv2},{self.dense})"

    @property
    def slug(self) -> str:
        """The name in file names: "M-64-32-64"."""
        return f"{self.family}-{self.conv1}-{self.conv2}-{self.dense}"

    @property
    def layers(self) -> dict[int, int]:
        """Widths of the convolutional layers that are there, in order: {1: 64, 2: 32}, numbered from 1."""
        return dict(enumerate((width for width in (self.conv1, self.conv2) if width), start=1))


@dataclass(frozen=True)
class DeepArchitecture:
    """Thirteen 3x3 convolutions with VGG16's proportions (Simonyan & Zisserman 2015); not a type of the paper's own.

    width: filters of the first layer; VGG16 has 64.

    Raises ValueError for a width outside 1..4096.

    >>> Architecture.parse("D(16)").layers[13]
    128
    """

    width: int
    family: ClassVar[str] = "D"

    def __post_init__(self) -> None:
        _check_width("width", self.width, 1)

    def __str__(self) -> str:
        return f"D({self.width})"

    @property
    def slug(self) -> str:
        """The name in file names: "D-16"."""
        return f"D-{self.width}"

    @property
    def layers(self) -> dict[int, int]:
        """Widths of the thirteen convolutional layers, numbered from 1."""
        return {layer: multiple * self.width for layer, multiple in enumerate(_MULTIPLES, start=1)}

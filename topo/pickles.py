"""Pickles, which are never read: how to recognise one, and the command that converts it where PyTorch is at hand.

Knows how PyTorch saves; must not unpickle anything.
"""

import io
import os
import pickletools
import shlex
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from topo.tensors import Refused

SUFFIXES = (".pth", ".pt", ".pkl", ".pickle", ".ckpt", ".joblib")
_SCRIPT = (
    "import sys, torch, safetensors.torch as s; source, target = sys.argv[1:]; held = {load}; "
    'states = lambda x: x.state_dict() if hasattr(x, "state_dict") else x; held = states(held); '
    'held = states(next((held[k] for k in ("state_dict", "model_state_dict", "model") if k in held), held)); '
    "s.save_file({{k: v.detach().clone().contiguous() for k, v in held.items() if isinstance(v, torch.Tensor)}}, "
    'target, {{"format": "pt"}})'
)
_LOAD = 'torch.load(source, map_location="cpu", weights_only={only})'
_LOAD_SCRIPT = 'torch.jit.load(source, map_location="cpu")'
# What state dicts are made of. Anything else is code of whoever wrote the file, such as the class of a network.
_PLAIN = ("collections OrderedDict", "torch._utils _rebuild_", "torch.serialization _get_layout", "torch.Size")
_MOST = 2**24  # bytes of a pickle that are looked through
_WITHIN = 5  # pickles that an older file of PyTorch begins with, before its numbers


def is_pickle(archive: zipfile.ZipFile) -> bool:
    """Whether a zip file is one that PyTorch wrote."""
    return any(name.endswith("data.pkl") for name in archive.namelist())


def refusal(path: Path) -> Refused:
    """The error for a pickle, with the command that converts it. A shell runs nothing out of the file's name."""
    load, whole = _LOAD.format(only=True), ""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickled = next((name for name in names if name.endswith("data.pkl")), None)
            if any(name.endswith("constants.pkl") for name in names):
                load = _LOAD_SCRIPT
            elif pickled:
                with archive.open(pickled) as file:
                    whole = _classes(file)
    else:
        with open(path, "rb") as file:
            whole = _classes(file)
    if whole:
        load = _LOAD.format(only=False)
        whole = f", only if you trust its author, because it holds {whole} and this runs the code in it"
    target = path.parent / f"{path.stem or path.name}.safetensors"
    command = f"python -c {shlex.quote(_SCRIPT.format(load=load))} {quoted(path)} {quoted(target)}"
    danger = "which may run any code when it is read, and is never read here"
    return Refused(f"{path} is a pickle, {danger}. Convert it where PyTorch is installed{whole}: {command}")


def _classes(file: IO[bytes] | io.BufferedIOBase) -> str:
    """The first name in a pickle that a state dict does not have, "" where there is none. Nothing is run."""
    begin = io.BytesIO(file.read(_MOST))
    with suppress(Exception):  # what follows the pickles, or a file cut short: the conversion will say so
        for _ in range(_WITHIN):
            strings: list[str] = []
            for operation, argument, _at in pickletools.genops(begin):
                if isinstance(argument, str) and operation.name != "GLOBAL":
                    strings = [*strings[-1:], argument]
                name = argument if operation.name == "GLOBAL" else " ".join(strings)
                if operation.name in ("GLOBAL", "STACK_GLOBAL") and not _is_plain(str(name)):
                    return str(name).replace(" ", ".")
    return ""


def _is_plain(name: str) -> bool:
    storage = name.startswith("torch ") and name.removeprefix("torch ").isidentifier()
    return storage or name.startswith(_PLAIN)


def quoted(path: Path) -> str:
    """A path as one word of a shell, printable whatever its name is: control characters and odd bytes are escaped."""
    text = str(path)
    if text.isprintable():
        return shlex.quote(text)
    plain = {ord(c) for c in ' "#$%&()*+,-./:;<=>?@[]^_`{|}~'}
    escaped = (chr(b) if chr(b).isalnum() and b < 128 or b in plain else f"\\x{b:02x}" for b in os.fsencode(text))
    return f"$'{''.join(escaped)}'"

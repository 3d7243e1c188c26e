import pytest
from conftest import refused

from topo.notation import Architecture


@pytest.mark.parametrize("text", ["M(64,32,64)", "C(64,0,64)", "M(0,32,0)", "M(1,0,0)"])
def test_parse_and_format_are_inverse(text):
    assert str(Architecture.parse(text)) == text


def test_white_space_and_case_are_ignored():
    assert Architecture.parse("  m( 64 , 32,64 ) ") == Architecture("M", 64, 32, 64)


def test_layers_are_numbered_over_those_that_are_there():
    assert Architecture.parse("M(64,32,64)").layers == {1: 64, 2: 32}
    assert Architecture.parse("M(0,32,64)").layers == {1: 32}
    assert Architecture.parse("C(64,0,64)").slug == "C-64-0-64"


@pytest.mark.parametrize(
    "text, words",
    [
        ("M(64,32)", "of the form"),
        ("M[64,32,64]", "of the form"),
        ("X(64,32,64)", "'X' is not one of M"),
        ("M(-1,32,64)", "conv1 = -1"),
        ("M(64,32,5000)", "dense = 5000"),
        ("M(0,0,64)", "no convolutional layer"),
        ("", "of the form"),
    ],
)
def test_what_is_no_architecture_is_named(text, words):
    with pytest.raises(ValueError) as error:
        Architecture.parse(text)
    assert words in str(error.value)


def test_only_text_is_parsed():
    with refused(TypeError, match="not tuple"):
        Architecture.parse(("M", 64, 32, 64))


def test_the_deep_architecture():
    deep = Architecture.parse(" d( 16 ) ")
    assert (str(deep), deep.slug, deep.family) == ("D(16)", "D-16", "D") and Architecture.parse(deep) is deep
    assert deep.layers == {1: 16, 2: 16, 3: 32, 4: 32, 5: 64, 6: 64, 7: 64, **{layer: 128 for layer in range(8, 14)}}
    with pytest.raises(ValueError, match="width = 0 is not a whole number from 1"):
        Architecture.parse("D(0)")

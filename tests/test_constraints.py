"""Constraints: they mean what Python means by them, and nothing that could run, grow or take long is one."""

import re

import pytest

from topo import book, constraints, parameters

VALUES = {"k": 3, "p": 0.5, "ks": [3, 5], "name": "mnist", "none": None, "yes": True}
TRUE = [
    "1 <= k < 64 * 2", "not k < 3", "k in ks and name in ('mnist', 'digits')", "none is None or none >= 1", "-k == -3",
    "2 <= len(ks) == len(set(ks)) and all(each in (3, 5, 7) for each in ks)", "k % 2 == 1 and k // 2 == 1",
    "+p <= k / 6",    "min(ks) >= 1 and max(ks) <= 5 and sum(ks) - k == abs(0 - 5)", "any(each > 4 for each in ks)",
    "len({1, 1}) == 1",    "k is not None", "k not in [1, 2]", "1 < 2 > 0 != 1", "yes and p * k >= 1.5", "yes",
    "ks == [3, 5] and (3, 5) != ks",
    "None is none",
]  # fmt: skip
FALSE = [
    "k",
    "k > 3",
    "1 <= k <= 2",
    "k in (1, 2)",
    "min([]) > k",
    "k % 0 == 1",
    "name * 3 == name",
    "name % k == name",
]
FALSE += [
    "ks + ks == ks",
    "k < none",
    "all(each > 3 for each in ks)",
    "all(each for each in k)",
    "not k >= 3 or k is None",
    "[1] < (3, 5)",
    "ks == (3, 5)",
]


@pytest.mark.parametrize("text", [*TRUE, *FALSE])
def test_a_constraint_means_what_python_means_by_it(text):
    tree = constraints.parse(text, VALUES)
    assert constraints.holds(tree, VALUES) is (text in TRUE)
    try:
        python = eval(text, dict(VALUES)) is True  # noqa: S307 -- the texts above
    except (TypeError, ValueError, ZeroDivisionError):
        python = False
    assert python is (text in TRUE)


def test_every_constraint_of_the_book_is_one_with_room_to_spare():
    texts = {each.constraint for path in book.chapters().values() for each in parameters.chapter_parameters(path)}
    assert len(texts) > 100 and max(map(len, texts)) <= constraints.LONGEST / 2


@pytest.mark.parametrize(
    "text, reason",
    [
        ("k ** 9 ** 9 > 1", "is not simple"),
        ("k.real == 3", "is not simple"),
        ("(lambda: k)() == 3", "is not simple"),
        ("f'{k:>999999999}' == name", "is not simple"),
        ("ks[0] == 3", "is not simple"),
        ("[each for each in ks] == ks", "is not simple"),
        ("len(each for each in ks if each) == 1", "is not simple"),
        ("all(all(a < b for a in ks) for b in ks)", "is not simple"),
        ("k << 99 == 3", "is not simple"),
        ("max(ks, key=len) == 3", "is not simple"),
        ("max(*ks) == 3", "is not simple"),
        ("(k := 3) == 3", "is not simple"),
        ("k == 1j or k == b'' or k == ...", "is not simple"),
        ("-" * 20 + "k < 3", "is not simple"),
        ("0.5 is 0.5", "is not simple"),
        ("not not abs", "is not simple"),
        ("none is None and p is not k", "is not simple"),
        ("k(3) == 3", "is not simple"),
        ("__import__('os') and k", "uses __import__"),
        ("open(name) and print(k)", "uses open, print"),
        ("k < 3; k > 1", "is no expression"),
        ("k = 3", "is no expression"),
        ("k <", "is no expression"),
        ("k < \0", "is no expression"),
        ("k" + " " * 300 + "< 3", "is longer than 300 characters"),
    ],
)
def test_nothing_else_is_a_constraint(text, reason):
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}") as error:
        constraints.parse(text, VALUES)
    assert "\n" not in str(error.value)

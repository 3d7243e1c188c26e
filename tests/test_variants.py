"""Every chapter that judges claims, run with other parameters: what its page says then is of that run."""

import nbformat
import pytest

from topo import book, claims
from topo.claims import CLAIMS

VARIANTS = {
    "01-introduction": {"n_patches": 4000, "draws": 20},
    "03-mapper": {"networks": 20, "resolutions_lens": [20]},
    "05-mnist": {"networks": 12, "k": 24, "networks_second": 4, "others": ["mnist-M-64-0-64"], "draws": 19},
    "06-cifar10-gray": {"networks": 4, "ks_peaks": [100], "draws": 1, "chances": 5, "most": 1000},
    "07-learning-gray": {
        "networks": 8,
        "networks_second": 4,
        "iterations": 500,
        "draws": 1,
        "draws_second": 1,
        "chances": 5,
        "most": 1000,
    },
    "08-cifar10-color": {"networks": 8, "chosen_on": 4, "draws": 2, "null_draws": 19, "most": 1000},
    "09-learning-color": {"networks": 6, "networks_second": 4, "draws": 1, "null_draws": 19, "most": 1000},
    "10-imagenet-vgg": {"most": 2000, "divisions": 1, "firsts": 2, "draws": 1},
}


def rule(each):
    """The book's rule once more, as the glossary says it."""
    if not each.tried:
        return claims.MISSING
    if CLAIMS[each.claim].absence and not each.scale.comparable:
        return claims.UNDECIDED
    beyond_chance = each.p_corrected is None or each.p_corrected <= 0.05
    if beyond_chance and each.held / each.tried >= 2 / 3 and (each.region is None or each.region >= 1 / 4):
        return claims.REPRODUCED
    if beyond_chance and each.held / each.tried >= 1 / 3:
        return claims.IN_PART
    return claims.NOT if each.scale.comparable else claims.UNDECIDED


def test_every_chapter_with_claims_has_a_variant():
    assert set(VARIANTS) == {claim.chapter for claim in CLAIMS.values()}


def test_the_saved_verdicts_are_those_of_the_rule():
    for name, each in claims.recorded(book.ROOT / "book").items():
        assert each.verdict == rule(each), name


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_with_other_parameters_judges_anew(tmp_path, name):
    out = book.run_chapter(book.chapters()[name], VARIANTS[name], tmp_path / f"{name}.ipynb")
    note = nbformat.read(out, 4).cells[1].source
    assert all(f"`{parameter} = {value!r}` instead of" in note for parameter, value in VARIANTS[name].items())
    ran, saved = claims.recorded(tmp_path), claims.recorded(book.ROOT / "book")
    assert set(ran) == {claim for claim, each in CLAIMS.items() if each.chapter == name}
    assert all(each.verdict == rule(each) for each in ran.values())
    assert any(ran[claim] != saved[claim] for claim in ran), "other parameters, the same numbers"

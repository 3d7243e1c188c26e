"""The rule by which claims are judged, case by case, and what the chapters and the table of all claims say by it."""

import json
import re
from dataclasses import replace

import matplotlib
import nbformat
import numpy as np
import pytest

from topo import archive, book, claims, figures
from topo.claims import CLAIMS, Finding, Scale, holm, judge
from topo.trials import Trials

SMALL = Scale(
    "2 networks", "100 networks", comparable=False, decides="`topo train x`, 5 hours of a processor like ours"
)


def trials(held, tried=6, region=0.5, p_value=0.01):
    """Trials with that p-value, of 99 draws; None for no null."""
    halves = np.arange(tried) < held
    if p_value is None:
        return Trials(halves, region)
    null = np.where(np.arange(99) < round(100 * p_value) - 1, 5.0, 1.0)
    return Trials(halves, region, 10, 0.3, 4.0, null)


def verdict(finding, others=()):
    """The verdict on the first claim of chapter 7; the others of the chapter have what `others` has, or no null."""
    names = [name for name, claim in CLAIMS.items() if claim.chapter == "07-learning-gray"]
    findings = dict(zip(names, [finding, *others, *[Finding(trials(6, p_value=None))] * 9]))
    return judge("07-learning-gray", findings)[0]


def test_the_p_value_of_trials():
    assert trials(6, p_value=0.01).p_value == 0.01
    assert trials(6, p_value=0.25).p_value == 0.25
    assert trials(6, p_value=None).p_value is None


@pytest.mark.parametrize(
    ("held", "region", "p_value", "expected"),
    [
        (6, 1.0, 0.01, claims.REPRODUCED),
        (4, 0.25, 0.05, claims.REPRODUCED),  # the bounds themselves
        (4, 0.24, 0.05, claims.IN_PART),
        (3, 1.0, 0.01, claims.IN_PART),
        (2, 0.0, 0.01, claims.IN_PART),
        (1, 1.0, 0.01, claims.NOT),
        (6, 1.0, 0.06, claims.NOT),
        (6, None, 0.01, claims.REPRODUCED),
        (6, 1.0, None, claims.REPRODUCED),
        (1, 1.0, None, claims.NOT),
    ],
)
def test_the_rule(held, region, p_value, expected):
    finding = Finding(trials(held, region=region, p_value=p_value))
    assert verdict(finding).verdict == expected
    small = Finding(trials(held, region=region, p_value=p_value), SMALL)
    assert verdict(small).verdict == (claims.UNDECIDED if expected == claims.NOT else expected)


def test_an_absence_is_undecided_where_the_scale_is_not_the_papers():
    absent = {name for name, claim in CLAIMS.items() if claim.absence and claim.chapter == "06-cifar10-gray"}
    assert len(absent) == 3 and all(re.search(r"\bno(ne|r)?\b", CLAIMS[name].statement, re.I) for name in absent)
    for scale in (Scale(), SMALL):
        every = {
            name: Finding(trials(6, p_value=None), scale) for name, claim in CLAIMS.items() if claim.chapter[:2] == "06"
        }
        for each in judge("06-cifar10-gray", every):
            undecided = scale == SMALL and each.claim in absent
            assert each.verdict == (claims.UNDECIDED if undecided else claims.REPRODUCED)


def test_reasons_name_what_the_verdict_rests_on():
    given = verdict(Finding(trials(1, region=0.125, p_value=0.3), SMALL))
    assert "in 1 of 6 judged halves" in given.because and "in 12% of the grid" in given.because
    assert "no more than chance" in given.because and "`topo train x`, 5 hours" in given.because
    assert (given.low, given.high, given.value, given.p_value) == (1.0, 5.0, 4.0, 0.3)
    assert "topo train" not in verdict(Finding(trials(6), SMALL)).because
    assert "in 2 of 6 single networks" in verdict(Finding(trials(2)._replace(counted="single networks"), SMALL)).because


def test_chance_is_a_reason_only_where_it_decides_or_is_plain():
    others = [Finding(trials(6, p_value=0.5))] * 3  # the correction makes 0.2 of 0.05
    for held, p_value, expected in ((1, 0.05, False), (1, 0.06, True), (3, 0.05, True), (3, 0.01, False)):
        given = verdict(Finding(trials(held, p_value=p_value)), others)
        assert ("no more than chance" in given.because) == expected


def test_what_is_missing_is_named():
    given = verdict(Finding(None, missing="the weights of VGG16"))
    assert given.verdict == claims.MISSING and given.because == "missing: the weights of VGG16"
    for trial, missing in ((None, ""), (trials(1), "something")):
        with pytest.raises(ValueError, match="either trials or the name"):
            Finding(trial, missing=missing)


def test_p_values_are_corrected_for_the_chapter():
    one, four = Finding(trials(6, p_value=0.02)), [Finding(trials(6, p_value=0.5))] * 3
    assert verdict(one).p_corrected == 0.02 and verdict(one).verdict == claims.REPRODUCED
    assert verdict(one, four).p_corrected == pytest.approx(0.08) and verdict(one, four).verdict == claims.NOT


def test_holm_against_a_worked_example():
    """Holm's own order: 0.01, 0.02, 0.03, 0.005 become 0.03, 0.04, 0.04, 0.02."""
    corrected = holm({"a": 0.01, "b": 0.02, "c": 0.03, "d": 0.005})
    assert corrected == pytest.approx({"a": 0.03, "b": 0.04, "c": 0.04, "d": 0.02})
    assert holm({}) == {} and holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_a_chapter_answers_all_its_claims_and_no_others():
    with pytest.raises(ValueError, match="must answer color-early-back.*it has nothing"):
        judge("09-learning-color", {"nothing": Finding(trials(6))})
    with pytest.raises(ValueError, match="no claim of a chapter '12-none'"):
        judge("12-none", {})


def test_every_claim_has_a_chapter_of_the_book():
    assert len(CLAIMS) >= 40
    assert {claim.chapter for claim in CLAIMS.values()} <= set(book.chapters())
    statements = [claim.statement for claim in CLAIMS.values()]
    assert all(re.fullmatch(r"[A-Z].*\.", each) for each in statements)


def test_the_scale_of_a_population():
    population = archive.load("mnist-M-64-32-64")
    own = claims.scale_of(population, 1000, 40)
    assert (
        own.ours.startswith("40 networks, 1,000 iterations, 9") and own.paper == "100 networks, 40,000 iterations, 99 %"
    )
    assert not own.comparable and own.decides.startswith(
        "`.venv/bin/python -m topo train mnist-M-64-32-64 --networks 100 --iterations 400"
    )
    assert claims.scale_of(population, 1000, 1, paper=(1, 40_000)).paper == "1 network, 40,000 iterations"
    assert claims.scale_of(population, 2000, 100).comparable  # within three points
    assert not claims.scale_of(population, 2000, 40).comparable  # too few networks
    assert claims.scale_of(population, 1000, 50, paper=(100, 1000)).comparable
    assert claims.scale_of(population, 1000, 1, paper=(1, 40_000, 98.5)).paper == "1 network, 40,000 iterations, 98.5 %"
    timed = archive.load("early-rate-02")
    hours = timed.description["seconds"] * 100 * 70_000 / (20 * 2000) / 3600
    assert f"{hours:,.0f} hours" in claims.scale_of(timed).decides


def test_rulings_survive_a_notebook(tmp_path):
    given = [verdict(Finding(trials(4), SMALL)), verdict(Finding(None, missing="x"))]
    given = [given[0], claims.Ruling(**{**vars(given[1]), "claim": "gray-early-broken"})]
    bundle = figures.rulings(given)._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", json.loads(json.dumps(bundle)))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    assert claims.recorded(tmp_path) == {each.claim: each for each in given}
    nbformat.write(notebook, tmp_path / "b.ipynb")
    with pytest.raises(ValueError, match="b.ipynb judges 'gray-early-circle'.*judged before"):
        claims.recorded(tmp_path)


def test_tables_of_all_claims():
    given = verdict(Finding(trials(4), SMALL))
    every, counts = figures.all_claims({given.claim: given}), figures.verdict_counts({given.claim: given})
    assert len(every.rows) == len(CLAIMS) and sum(row[1] == "not judged" for row in every.rows) == len(CLAIMS) - 1
    assert '<a href="07-learning-gray.html#verdicts">reproduced</a>' in every._repr_html_()
    assert counts.rows[-1] == ["all", "1", "0", "0", "0", "0"]


def test_a_phone_shows_the_pictures_of_all_claims_whole():
    recorded = claims.recorded(book.ROOT / "book")
    legible = int(re.search(r"_LEGIBLE = (\d+)", (book.ROOT / "book" / "_extensions" / "page.py").read_text())[1])
    with matplotlib.rc_context():
        figures.use_style()
        for figure in (figures.verdict_bars(recorded), figures.agreement(recorded)):
            assert figure._repr_png_()[1]["width"] <= legible


def test_pictures_of_all_claims():
    named = [name for name, claim in CLAIMS.items() if claim.chapter == "07-learning-gray"]
    given = dict(
        zip(named, (verdict(Finding(each)) for each in (trials(6), trials(6), trials(1), trials(2, region=None))))
    )
    (bars,) = figures.verdict_bars(given).axes
    row = [label.get_text() for label in bars.get_yticklabels()].index("07-learning-gray")
    drawn = {text.get_text(): text.get_position() for text in bars.texts}
    assert (
        drawn == {"2": (1, row), "1": (3.5, row)} and len(bars.texts) == 3
    )  # two are reproduced, one in part, one not
    labels = [text.get_text() for text in bars.get_legend().get_texts()]
    assert labels[:3] == ["reproduced (2)", "reproduced in part (1)", "not reproduced (1)"]
    (ax,) = figures.agreement(given).axes
    places = {each.get_label(): each.get_offsets().tolist() for each in ax.collections}
    assert set(places) == {"reproduced", "not reproduced"}  # one claim has no grid
    assert places["reproduced"] == [[0.5, 1]] and [text.get_text() for text in ax.texts] == ["2"]
    assert places["not reproduced"] == [[0.5, pytest.approx(1 / 6, abs=0.01)]]
    given[named[1]] = replace(given[named[1]], verdict="undecided at this scale")
    (ax,) = figures.agreement(given).axes
    beside = {each.get_label(): each.get_offsets().tolist()[0] for each in ax.collections}
    assert beside["reproduced"][0] < 0.5 < beside["undecided at this scale"][0] and not ax.texts


# The committed book


def test_every_claim_is_judged_in_its_chapter(tmp_path):
    for name, path in book.chapters().items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / path.name).write_bytes(path.read_bytes())
        assert set(claims.recorded(folder)) == {claim for claim, each in CLAIMS.items() if each.chapter == name}


def test_the_table_of_all_claims_is_that_of_the_chapters():
    """The saved chapter on evidence is of the same run as the saved chapters."""
    notebook = nbformat.read(book.chapters()["11-evidence"], 4)
    shown = [
        o.data["text/plain"] for c in notebook.cells for o in c.get("outputs", ()) if "text/plain" in o.get("data", {})
    ]
    recorded = claims.recorded(book.ROOT / "book")
    assert repr(figures.all_claims(recorded)) in shown and repr(figures.verdict_counts(recorded)) in shown


VERDICT_WORDS = re.compile(r"reproduced|undecided|not computable", re.IGNORECASE)


@pytest.mark.parametrize("name", [name for name in book.chapters() if name != "11-evidence"])
def test_no_text_of_a_chapter_anticipates_a_verdict(name):
    for cell in nbformat.read(book.chapters()[name], 4).cells:
        about = cell.metadata.get("mystnb", {})
        texts = [about.get("figure", {}).get("caption", ""), about.get("image", {}).get("alt", "")]
        texts += [cell.source] if cell.cell_type == "markdown" else []
        for text in texts:
            assert not VERDICT_WORDS.search(text), VERDICT_WORDS.search(text)

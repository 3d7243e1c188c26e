"""What the paper claims, and the one rule by which the book judges each claim.

Knows claims, trials and scales; must not compute a topological invariant, nor draw.
"""

import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from topo.archive import Archive
from topo.results import RULINGS as MIMETYPE
from topo.trials import SOME, Trials
from topo.types import PaperScale, Whole

_Name = TypeVar("_Name", bound=Hashable)
REPRODUCED, IN_PART, NOT = "reproduced", "reproduced in part", "not reproduced"
UNDECIDED, MISSING = "undecided at this scale", "not computable here"
VERDICTS = (REPRODUCED, IN_PART, NOT, UNDECIDED, MISSING)

SURE = 0.05  # the corrected p-value up to which a claim stands against chance
MOST = 2 / 3  # of the judged halves, for a claim that is reproduced; SOME for one that is so in part
REGION = 1 / 4  # share of the grid's cells
NEAR_ACCURACY = 3.0  # points of accuracy within which networks count as trained like the paper's


@dataclass(frozen=True)
class Claim:
    """A claim of the paper that a computation can answer.

    section, figure: where the paper makes it, figure "" where it shows none. statement: the claim in our words.
    chapter: the one that answers it. absence: whether it is that something is not there, which fewer or less trained
    networks than the paper's cannot show.
    """

    section: str
    figure: str
    statement: str
    chapter: str
    absence: bool = False


_ABSENT = {"gray-first-no-circle", "gray-one-no-circle", "gray-one-no-lines", "vgg-first-few"}


def _claims(chapter: str, section: str, *claims: tuple[str, str, str]) -> dict[str, Claim]:
    return {name: Claim(section, figure, text, chapter, name in _ABSENT) for name, figure, text in claims}


CLAIMS: dict[str, Claim] = {
    **_claims(
        "01-introduction",
        "1",
        ("patches-three-circles", "1", "The densest patches of photographs lie around three circles, with five loops."),
    ),
    **_claims(
        "03-mapper",
        "3",
        ("mapper-other-lenses", "", "Mapper shows the same shapes with other lenses than principal components."),
    ),
    **_claims(
        "05-mnist",
        "5.1",
        ("mnist-first-circle", "3", "The first layer's dense core is the primary circle."),
        ("mnist-first-piece", "3", "That core is one connected piece."),
        ("mnist-one-layer", "", "Networks with one convolutional layer have the same circle."),
        ("mnist-other-networks", "", "So do the first layers of three further configurations."),
        ("mnist-second-circle", "", "The second layer's densest filters have a very weak primary circle."),
        ("mnist-single-second", "4", "The second layer of a single network has the primary circle."),
    ),
    **_claims(
        "06-cifar10-gray",
        "5.2.1",
        ("gray-first-no-circle", "5", "The first layer of well-trained networks of two layers has no primary circle."),
        ("gray-one-no-circle", "5", "Nor has that of networks with one layer."),
        ("gray-two-clusters", "5", "With two layers the first layer has five clusters."),
        ("gray-one-clusters", "5", "With one layer there are five clusters, too."),
        ("gray-clusters-differ", "5", "The clusters of the two populations are not the same."),
        ("gray-two-lines", "5", "With two layers there are clusters of horizontal and of vertical lines."),
        ("gray-one-no-lines", "5", "With one layer there are none."),
        ("gray-second-circle", "7", "The second layers of many networks have the primary circle."),
        ("gray-single-second", "7", "The primary circle appears in the second layer of a single network."),
        ("gray-more-networks", "7", "Many networks show the circle's bar more clearly than one."),
    ),
    **_claims(
        "07-learning-gray",
        "5.2.1",
        ("gray-early-circle", "8", "After 400 iterations the first layer, all filters of it, has the primary circle."),
        ("gray-early-broken", "8", "After 500 iterations that circle is broken."),
        ("gray-early-edges", "8", "Four straight edges are stable from 200 to 1,000 iterations."),
        ("gray-early-second", "8", "After 2,000 iterations the circle starts to appear in the second layer."),
    ),
    **_claims(
        "08-cifar10-color",
        "5.2.2",
        ("color-first-circle", "10", "The first layer's dense core is the primary circle."),
        ("color-as-mnist", "10", "Its bars of loop and piece are as persistent as those of MNIST."),
        ("color-second-circle", "", "The second layers of many networks have the primary circle."),
        ("color-single-second", "10", "The primary circle appears in the second layer of a single network."),
        ("color-red", "", "The filters of the red channel alone have the primary circle."),
        ("color-green", "", "So have those of the green channel."),
        ("color-blue", "", "So have those of the blue channel."),
        ("color-three-circles", "12", "At another filtration the first layer is the three-circle model: five loops."),
        ("color-outer-circle", "12", "In it the primary circle is stronger than the two secondary circles."),
        ("unpooled-two-circles", "11", "Without max-pooling two circles meet twice: three loops."),
        ("unpooled-weaker-primary", "11", "The weaker of the two is the primary circle."),
    ),
    **_claims(
        "09-learning-color",
        "5.2.2",
        ("color-early-circle", "13", "After 300 iterations the first layer has the primary circle."),
        ("color-early-broken", "13", "After 500 iterations that circle is broken."),
        ("color-early-back", "13", "After 1,500 iterations it is back, with inner secondary structure."),
        ("color-early-second", "13", "After 1,000 iterations the second layer has the primary circle."),
    ),
    **_claims(
        "10-imagenet-vgg",
        "5.3",
        ("vgg-first-few", "", "VGG16's first layer has too few filters to show a structure."),
        ("vgg-primary", "14", "The primary circle is the dominant structure of VGG16's layers 2 to 12."),
        ("vgg-not-last", "14", "In its layer 13 another structure is dominant."),
        ("vgg-strange", "14", "Patches that are not in the Klein bottle are notable in layers 5, 6, 8, 11, 12 and 13."),
        ("vgg-nineteen", "15", "The dominant circle of VGG16's layer 13 is that of VGG19's layer 5."),
        ("vgg-unpooled", "15", "That circle closely resembles the strange one of networks without max-pooling."),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How much of the paper's training ours is, beside a claim.

    ours, paper: such as "24 networks, 8,000 iterations, 75.6 %". comparable: whether a negative result of ours counts
    against the claim. decides: what would decide the claim where it does not.
    """

    ours: str = ""
    paper: str = ""
    comparable: bool = True
    decides: str = ""


@dataclass(frozen=True)
class Ruling:
    """How a claim was judged: the verdict of the rule, and what it rests on.

    claim: a key of CLAIMS; verdict: one of VERDICTS; because: the reason in words. held, tried: in how many trials the
    statement held, of how many, such as judged halves; region: share of the grid, None where there is none. statistic:
    what `value` is; low, high: of the null, None where there is none. p_value, p_corrected: alone and corrected
    by Holm's method for all claims of the chapter.
    """

    claim: str
    verdict: str
    because: str
    held: int = 0
    tried: int = 0
    region: float | None = None
    statistic: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_corrected: float | None = None
    scale: Scale = field(default_factory=Scale)


@dataclass(frozen=True)
class Finding:
    """What was found for a claim.

    trials: of `topo.trials`, or None where an input is missing, which `missing` then names. statistic: what the value
    of the trials is.
    """

    trials: Trials | None
    scale: Scale = field(default_factory=Scale)
    statistic: str = "ratio"
    missing: str = ""

    def __post_init__(self) -> None:
        if (self.trials is None) != bool(self.missing):
            raise ValueError("a finding has either trials or the name of an input that is missing")


def scale_of(
    population: Archive,
    iterations: Whole | None = None,
    networks: Whole | None = None,
    paper: PaperScale | None = None,
) -> Scale:
    """The Scale of what was looked at in a population.

    iterations, networks: that were looked at, all where None. paper: its networks, iterations and, where it gives one,
    accuracy in percent; those of the manifest where None.
    Ours is comparable where there are half of the paper's networks or more, and they were trained for as many
    iterations or to an accuracy within NEAR_ACCURACY points of the paper's.
    Raises ValueError as `Archive.accuracy` does.
    """
    networks = population.networks if networks is None else min(networks, population.networks)
    iterations = population.description["iterations"] if iterations is None else iterations
    theirs, until, *given = paper or population.description["paper"].values()
    accuracy = given[0] if given else None
    reached = float(100 * population.accuracy(iterations)[:networks].mean())
    trained = iterations >= until or (accuracy is not None and reached >= accuracy - NEAR_ACCURACY)
    told = "" if accuracy is None else f", {accuracy:g} %"
    return Scale(
        f"{_counted(networks)}, {iterations:,} iterations, {reached:.1f} %",
        f"{_counted(theirs)}, {until:,} iterations{told}",
        bool(2 * networks >= theirs and trained),
        _decides(population, theirs, until),
    )


def _counted(networks: Whole) -> str:
    return f"{networks:,} network{'' if networks == 1 else 's'}"


def _decides(population: Archive, networks: Whole, iterations: Whole) -> str:
    command = f"`.venv/bin/python -m topo train {population.name} --networks {networks} --iterations {iterations}`"
    known = population.description
    if "seconds" not in known:
        return command
    each = known["seconds"] / (population.networks * known["iterations"])
    where = "processor" if "CPU" in known["hardware"] else "accelerator"
    return f"{command}, {each * networks * iterations / 3600:,.0f} hours of one {where} like ours,"


def judge(chapter: str, findings: Mapping[str, Finding]) -> list[Ruling]:
    """Judge all claims of a chapter by the book's rule.

    A claim is **reproduced** where three things hold: its statistic exceeds that of untrained filters, at a p-value of
    SURE or less after Holm's correction for the claims of the chapter; the statement held in MOST of the judged halves,
    each at the filtration that the other half chose; and it held in a REGION of the grid. It is **reproduced in part**
    where the first holds and the statement held in SOME of the halves. Otherwise it is **not reproduced**, or
    **undecided at this scale** where ours is not comparable. Claims without a null are judged by halves and region
    alone; that something is absent is undecided wherever ours is not comparable.

    findings: one for each claim of the chapter in CLAIMS. Raises ValueError where claims are missing, or of another
    chapter.
    """
    wanted = {name for name, claim in CLAIMS.items() if claim.chapter == chapter}
    if not wanted:
        raise ValueError(f"there is no claim of a chapter {chapter!r}")
    if set(findings) != wanted:
        raise ValueError(f"chapter {chapter} must answer {', '.join(sorted(wanted))}; it has {', '.join(findings)}")
    p_values = {name: each.trials.p_value for name, each in findings.items() if each.trials is not None}
    corrected = holm({name: each for name, each in p_values.items() if each is not None})
    return [_ruling(name, findings[name], corrected.get(name)) for name in CLAIMS if name in wanted]


def holm(p_values: Mapping[_Name, float]) -> dict[_Name, float]:
    """p-values corrected for their number by the method of Holm (1979): the chance of one false finding or more.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    corrected, least = {}, 0.0
    for i, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - i) * p_values[name]))
        corrected[name] = least
    return corrected


def _ruling(name: str, finding: Finding, corrected: float | None) -> Ruling:
    trials = finding.trials
    if trials is None:
        return Ruling(name, MISSING, f"missing: {finding.missing}", scale=finding.scale)
    held, tried = int(trials.halves.sum()), len(trials.halves)
    share, sure = held / tried, corrected is None or corrected <= SURE
    wide = trials.region is None or trials.region >= REGION
    verdict = NOT if finding.scale.comparable else UNDECIDED
    if sure and share >= SOME and not (CLAIMS[name].absence and verdict == UNDECIDED):
        verdict = REPRODUCED if share >= MOST and wide else IN_PART
    reasons = [f"in {held} of {tried} {trials.counted}"]
    if trials.region is not None:
        reasons.append(f"in {trials.region:.0%} of the grid")
    if not sure and (share >= SOME or (trials.p_value or 0.0) > SURE):  # where it decides, or is plain
        reasons.append("no more than chance")
    if verdict == UNDECIDED and finding.scale.decides:
        reasons.append(f"{finding.scale.decides} would decide it")
    low, high = (float(np.min(trials.null)), float(np.max(trials.null))) if len(trials.null) else (None, None)
    value = None if np.isnan(trials.value) else float(trials.value)
    numbers = dict(held=held, tried=tried, region=trials.region, value=value, low=low, high=high)
    about = dict(statistic=finding.statistic, p_value=trials.p_value, p_corrected=corrected, scale=finding.scale)
    return Ruling(name, verdict, "; ".join(reasons), **numbers, **about)  # type: ignore[arg-type]


def as_json(rulings: Iterable[Ruling]) -> list[dict[str, Any]]:
    """Rulings as JSON keeps them, with numbers to four digits: the next ones differ from processor to processor."""

    def rounded(value: Any) -> Any:
        return float(f"{value:.4g}") if isinstance(value, float) else value

    return [{name: rounded(value) for name, value in asdict(each).items()} for each in rulings]


def recorded(folder: str | Path) -> dict[str, Ruling]:
    """The rulings that executed chapters in a folder hold in their outputs, by claim.

    Raises ValueError where a ruling is of no claim in CLAIMS or two chapters judge the same claim.
    """
    found: dict[str, Ruling] = {}
    for path in sorted(Path(folder).glob("*.ipynb")):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            for output in cell.get("outputs", ()):
                for each in output.get("data", {}).get(MIMETYPE, ()):
                    ruling = Ruling(**{**each, "scale": Scale(**each["scale"])})
                    if ruling.claim not in CLAIMS or ruling.claim in found:
                        raise ValueError(f"{path.name} judges {ruling.claim!r}, which is no claim, or judged before")
                    found[ruling.claim] = ruling
    return found

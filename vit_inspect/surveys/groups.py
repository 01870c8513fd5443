"""How do two groups of pictures differ? Means, effect sizes and intervals for every head.

Intervals of two groups are those of Welch (Biometrika 34, 1947), of the same pictures in two
surveys those of Student's paired differences. Each is as wide as Bonferroni's inequality asks for
all heads together (Dunn, J. Am. Stat. Assoc. 56, 1961). Effect sizes are Hedges' g (J. Educ. Stat.
6, 1981).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import gammaln
from scipy.stats import t as student

from vit_inspect.arguments import of_kind, several
from vit_inspect.errors import BadParameter
from vit_inspect.layout import TokenLayout
from vit_inspect.records.survey import SURE, GroupDifference, HeadGroups, HeadValues
from vit_inspect.surveys.labels import class_of
from vit_inspect.surveys.results import Numbers, Survey, numbers_of
from vit_inspect.surveys.sources import Entry

ALIKE = 1e-6
"""A spread that is no larger than this share of the largest value is one of rounding alone."""

Heads = Float[np.ndarray, "layer head"]
Values = Float[np.ndarray, "picture layer head"]
Others = Float[np.ndarray, "other_picture layer head"]


def compare_groups(
    survey: Survey,
    statistic: str,
    first: Numbers,
    second: Numbers,
    *,
    names: tuple[str, str] = ("first", "second"),
) -> GroupDifference:
    """How the pictures of one group differ from those of another one, for each head.

    first, second: the numbers of the pictures, as in `survey.entries`; those without numbers are
        left out. names: what the groups are called.
    The two groups the other way round have the same differences and effects with the other sign.

    Raises `BadParameter` for a statistic or a picture that is not there, for groups that share a
    picture, and for a group without pictures that have numbers.
    """
    of_kind(survey, Survey, "survey", "what vi.survey or vi.open_survey returns")
    if len(several(names, "names", "('cats', 'dogs')")) != 2:
        raise BadParameter(f"{len(names)} names", "one for each group", "give two")
    chosen = [
        numbers_of(each, len(survey.entries), f" in the group {name!r}")
        for each, name in zip((first, second), names, strict=True)
    ]
    if shared := set(chosen[0].tolist()) & set(chosen[1].tolist()):
        raise BadParameter(
            f"{len(shared)} pictures that are in both groups",
            "groups that share no picture",
            "leave them out of one group",
        )
    found, counts = [], (0, 0)
    for values in survey.by_layers(statistic):
        pair = [_with_numbers(values[each]) for each in chosen]
        counts = len(pair[0]), len(pair[1])
        for count, name in zip(counts, names, strict=True):
            if not count:
                raise BadParameter(
                    f"no picture with numbers in the group {name!r}",
                    "one or more, better ten or more",
                    "choose other groups",
                )
        found.append(_unpaired(*pair))
    return _record(survey, statistic, survey.name, names, counts, found, paired=False)


def compare_surveys(
    first: Survey, second: Survey, statistic: str, *, names: tuple[str, str] | None = None
) -> GroupDifference:
    """How the pictures that two surveys share differ between them, for each head.

    Pictures are the same where they have the same name, and as many bytes, or where their size is
    not known lie in the same place. names: what the surveys are called; as their folders, without
    it. A survey and itself have no difference.

    Raises `BadParameter` for a statistic that one of them lacks, for other layers and heads, for
    distances at another input size, and where they share no picture that has numbers in both.
    """
    for each in (first, second):
        of_kind(each, Survey, "survey", "what vi.survey or vi.open_survey returns")
    check_alike(first, second, statistic)
    there = {_same(entry): number for number, entry in enumerate(second.entries)}
    pairs = [
        (number, there[_same(entry)])
        for number, entry in enumerate(first.entries)
        if _same(entry) in there
    ]
    numbers = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    found, count = [], 0
    # Surveys of one shape, but not always of one length: so each is read in its own steps.
    for values, others in zip(
        _all_layers(first, statistic, numbers[:, 0]),
        _all_layers(second, statistic, numbers[:, 1]),
        strict=True,
    ):
        both = ~np.isnan(values[:, 0]) & ~np.isnan(others[:, 0])
        count = int(both.sum())
        if not count:
            raise BadParameter(
                "two surveys that share no picture with numbers",
                "surveys of the same pictures",
                "make both of one folder",
            )
        found.append(_paired(values[both][:, None], others[both][:, None]))
    names = names or (first.name, second.name)
    return _record(first, statistic, " and ".join(names), names, (count, count), found, paired=True)


def _same(entry: Entry) -> Entry:
    """What two pictures share that are the same, wherever the folder of one has been moved."""
    return entry._replace(label=None, place="" if entry.size else entry.place)


def check_alike(first: Survey, second: Survey, statistic: str) -> None:
    """Raises `BadParameter` where the heads of two surveys have no common place or unit."""
    for survey in (first, second):
        if statistic not in survey.statistics:
            raise BadParameter(
                f"no {statistic} in the survey {survey.name!r}",
                "a statistic of both surveys",
                "choose another one",
            )
    shapes = [survey.statistics[statistic].mean.shape for survey in (first, second)]
    if shapes[0] != shapes[1]:
        sizes = " and ".join(f"{layers} × {heads}" for layers, heads in shapes)
        raise BadParameter(
            f"layers × heads of {sizes}",
            "the same for both surveys",
            "choose surveys of one architecture",
        )
    check_units(first, second, statistic)


def check_units(first: Survey, second: Survey, statistic: str) -> None:
    """Raises `BadParameter` for distances in px of inputs of two sizes."""
    _check_units(first.layout, second.layout, statistic)


def _check_units(first: TokenLayout, second: TokenLayout, statistic: str) -> None:
    inputs = [layout.input_px for layout in (first, second)]
    if statistic.endswith("_px") and inputs[0] != inputs[1]:
        sizes = " and ".join(f"{rows} × {columns}" for rows, columns in inputs)
        raise BadParameter(
            f"distances in px of inputs of {sizes} px",
            "inputs of one size",
            "choose another statistic, or surveys of one input size",
        )


def correct(survey: Survey) -> Int[np.ndarray, "picture"]:
    """1 for a picture whose largest output is the class of its label, 0 for another class.

    -1 where this is not known: without a label that names a class of the model, and for pictures
    without numbers. A label names a class by its whole name, or by one of several that stand in it
    with commas between them; upper case, underscores and hyphens do not matter.
    """
    of_kind(survey, Survey, "survey", "what vi.survey or vi.open_survey returns")
    own = np.array([*map(class_of(survey.plan["labels"] or ()), (e.label for e in survey.entries))])
    classes, _ = survey.chosen()
    return np.where((classes < 0) | (own < 0), -1, classes == own)


def head_groups(first: HeadValues, second: HeadValues) -> HeadGroups:
    """One statistic of a head for two groups of pictures, as a record with a figure.

    first, second: as `survey.of_head` returns them, of one survey or of two. `over` of each is the
    name of its group.

    Raises `BadParameter` where they are of two statistics or heads, of distances at two input
    sizes, or have no pictures.
    """
    for each in (first, second):
        of_kind(each, HeadValues, "values", "what survey.of_head returns")
        if not len(each.values):
            raise BadParameter(
                f"no picture with numbers in {each.over!r}", "one or more", "choose other pictures"
            )
    asked = [(each.statistic, each.layer, each.head) for each in (first, second)]
    if asked[0] != asked[1]:
        raise BadParameter(
            " and ".join(f"{name} of layer {layer}, head {head}" for name, layer, head in asked),
            "one statistic of one head",
            "choose one for both",
        )
    _check_units(first.layout, second.layout, first.statistic)
    return HeadGroups(
        first.model,
        first.layout,
        first.statistic,
        first.layer,
        first.head,
        (first.over, second.over),
        first.values,
        second.values,
    )


def _all_layers(
    survey: Survey, statistic: str, numbers: Int[np.ndarray, "picture"]
) -> Iterable[Float[np.ndarray, "picture head"]]:
    """The numbers of some pictures, layer by layer."""
    for values in survey.by_layers(statistic):
        yield from np.moveaxis(values[numbers], 1, 0)


def _with_numbers(values: Values) -> Others:
    return values[~np.isnan(values).any(axis=(1, 2))]


def _unpaired(first: Values, second: Others) -> dict[str, Heads]:
    """The fields of a difference of two groups of pictures, for some layers."""
    (mean, variance), (other, other_variance) = map(_moments, (first, second))
    count, other_count = len(first), len(second)
    freedom = count + other_count - 2
    fields = {"first": mean, "second": other, "difference": mean - other}
    if min(count, other_count) < 2:
        return fields | _unknown(mean)
    pooled = np.sqrt(((count - 1) * variance + (other_count - 1) * other_variance) / freedom)
    alike = _alike(pooled, first, second)
    shares = variance / count, other_variance / other_count
    error = np.sqrt(shares[0] + shares[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        welch = error**4 / (shares[0] ** 2 / (count - 1) + shares[1] ** 2 / (other_count - 1))
        effect = fields["difference"] / pooled * _unbiased(freedom)
    return fields | _known(alike, effect, error, welch)


def _paired(first: Values, second: Values) -> dict[str, Heads]:
    """The same of the same pictures in two surveys."""
    (mean, _), (other, _) = map(_moments, (first, second))
    count = len(first)
    difference, variance = _moments(first - second)
    fields = {"first": mean, "second": other, "difference": difference}
    if count < 2:
        return fields | _unknown(mean)
    spread = np.sqrt(variance)
    alike = _alike(spread, first, second)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Hedges' factor needs two degrees of freedom.
        factor = _unbiased(count - 1) if count > 2 else np.nan
        effect = difference / spread * factor
    return fields | _known(
        alike, effect, spread / np.sqrt(count), np.full(mean.shape, float(count - 1))
    )


def _moments(values: Values) -> tuple[Heads, Heads]:
    """The mean, and the variance with one less than the count; NaN of one picture."""
    # From the first picture on: copies of one have no spread, to the bit.
    beyond = values - values[0]
    mean = beyond.mean(axis=0)
    count = len(values)
    variance = ((beyond - mean) ** 2).sum(axis=0) / (count - 1) if count > 1 else mean * np.nan
    return values[0] + mean, variance


def _unbiased(freedom: int) -> float:
    """Hedges' factor, which takes the bias of few pictures from an effect; exact."""
    half = freedom / 2
    return float(np.exp(gammaln(half) - gammaln(half - 0.5)) / np.sqrt(half))


def _alike(spread: Heads, first: Values, second: Others) -> Bool[np.ndarray, "layer head"]:
    """Where pictures differ by rounding alone."""
    largest = np.maximum(np.abs(first).max(axis=0), np.abs(second).max(axis=0))
    return np.asarray(spread <= ALIKE * largest)


def _unknown(mean: Heads) -> dict[str, Heads]:
    return {name: np.full(mean.shape, np.nan) for name in ("effect", "error", "freedom")}


def _known(
    alike: Bool[np.ndarray, "layer head"], effect: Heads, error: Heads, freedom: Heads
) -> dict[str, Heads]:
    fields = {"effect": effect, "error": error, "freedom": freedom}
    return {name: np.where(alike, np.nan, values) for name, values in fields.items()}


def _record(
    survey: Survey,
    statistic: str,
    over: str,
    groups: tuple[str, str],
    counts: tuple[int, int],
    found: Sequence[dict[str, Heads]],
    *,
    paired: bool,
) -> GroupDifference:
    """The record of all layers, with intervals that hold for all heads together."""
    fields = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    error, freedom, difference = fields.pop("error"), fields.pop("freedom"), fields["difference"]
    reach = error * student.ppf(1 - (1 - SURE) / (2 * difference.size), freedom)
    return GroupDifference(
        survey.model,
        survey.layout,
        statistic,
        over,
        (groups[0], groups[1]),
        counts,
        paired,
        low=difference - reach,
        high=difference + reach,
        **fields,
    )

"""Scores as tables for a person: the objects of `medseg evaluate --json`."""

from collections.abc import Mapping, Sequence
from math import pi
from typing import cast

Plain = Mapping[str, object]

COUNTED = ("rule", "found", "of", "false", "of", "recall", "precision", "F1", "PQ", "SQ", "RQ")
QUALITY = ("Dice", "surface Dice", "HD95 mm")
TOURNAMENT = ("model and separation", "PQ", "95 %", "gain", "F1", "Dice", "ECE", "s/case", "MiB")


def case_text(scores: Plain) -> str:
    """One case."""
    rules = cast("Mapping[str, Plain]", scores["rules"])
    counting = {name: rule for name, rule in rules.items() if "recall" in rule}
    lines = [
        _sides(scores),
        f"All voxels: Dice {_number(scores['dice'])}, surface Dice "
        f"{_number(scores['surface_dice'])} within {_number(scores['surface_tolerance_mm'])} mm, "
        f"HD95 {_number(scores['hd95_mm'])} mm",
        "",
        *_table(
            (*COUNTED, *QUALITY),
            [
                (
                    *_counts(name, rule),
                    *(_number(rule.get(key)) for key in ("pq", "sq", "rq", "instance_dice")),
                    *(_number(rule.get(key)) for key in ("surface_dice", "hd95_mm")),
                )
                for name, rule in counting.items()
            ],
        ),
        "PQ, SQ, RQ, Dice, surface Dice and HD95 are of the lesions that the rule pairs.",
        "",
        *_special(rules),
        f"Split: {_listed(scores['split'])}. Merged: {_listed(scores['merged'])}. "
        f"Missed: {_listed(scores['missed'])}. False: {_listed(scores['false'])}. (labels)",
        *_froc_lines(scores["froc"]),
        *_burden_lines(cast("Mapping[str, Plain]", scores["burden"])),
        "",
        *_size_table(counting),
    ]
    return "\n".join(lines)


def cohort_text(scores: Plain) -> str:
    """Many cases: one line each, then means and pooled counts with their intervals."""
    cases = cast("Sequence[Plain]", scores["cases"])
    pooled = cast("Mapping[str, Plain]", scores["pooled"])
    means = cast("Mapping[str, Plain]", scores["means"])
    lines = [
        *_table(
            ("case", "found", "of", "false", "of", "F1", "PQ50", "Dice", "HD95 mm", "CC-Dice"),
            [_case_row(case) for case in cases],
        ),
        "Found and false lesions and F1 by cc26-any-overlap, PQ by panoptica-iou50.",
        "",
        *_table(
            ("mean over cases", "value", "95 % interval", "cases"),
            [(name, *_interval(one), str(one["cases"])) for name, one in means.items()],
        ),
        "",
        *_table(
            ("all lesions together", "found", "of", "false", "of", "recall", "precision", "F1"),
            [
                (
                    *_counts(name, rule)[:5],
                    *(
                        " ".join(_interval(cast("Plain", rule[key])))
                        for key in ("recall", "precision", "f1")
                    ),
                )
                for name, rule in pooled.items()
            ],
        ),
        "Intervals: percentile bootstrap over the cases, taken as patients.",
        *_froc_lines(scores["froc"]),
        "",
        *_size_table(pooled),
    ]
    unpaired = scores["predictions_without_reference"]
    if unpaired:
        lines.append(f"{unpaired} predictions have no reference and were left aside.")
    return "\n".join(lines)


def bench_text(plain: Mapping[str, object]) -> str:
    """The object of `medseg bench --json` as a table for a person."""
    entries = cast("Sequence[Mapping[str, object]]", plain["entries"])
    sizes = cast("Sequence[Mapping[str, float | None]]", entries[0]["by_size"])
    rows = [_entry(one) for one in entries]
    lines = [
        f"{plain['cases']} cases. PQ: panoptica-iou50; F1: labels-any-overlap; of all lesions "
        "together. Gain: PQ over connected components of the same foreground.",
        *_table(TOURNAMENT, rows),
        "",
        *_table(
            ("F1 by diameter in mm", *(_size(one) for one in sizes)),
            [
                (
                    f"{one['model']} {one['processing']}",
                    *(
                        _number(row["f1"])
                        for row in cast("Sequence[Mapping[str, object]]", one["by_size"])
                    ),
                )
                for one in entries
            ],
        ),
        "",
        f"{plain['why']}",
    ]
    return "\n".join(lines)


def _entry(one: Mapping[str, object]) -> tuple[str, ...]:
    pq = cast("Mapping[str, object]", one["pq"])
    return (
        f"{one['model']} {one['processing']}",
        _number(pq["value"]),
        _interval(pq)[1],
        _share(one["pq_gain_over_components"]),
        _share(one["f1"]),
        _share(one["dice"]),
        _share(one["expected_calibration_error"]),
        _number(one["seconds_per_case"]),
        f"{one['peak_memory_mib']:.0f}",
    )


def _case_row(case: Plain) -> tuple[str, ...]:
    rules = cast("Mapping[str, Plain]", case["rules"])
    any_overlap, paired = rules["cc26-any-overlap"], rules["panoptica-iou50"]
    return (
        *_counts(str(case["case"]), any_overlap)[:5],
        _number(any_overlap["f1"]),
        _number(paired["pq"]),
        _number(case["dice"]),
        _number(case["hd95_mm"]),
        _number(rules["cc-dice-mm"]["dice"]),
    )


def _counts(name: str, rule: Plain) -> tuple[str, ...]:
    return (
        name,
        str(rule["found_lesions"]),
        str(rule["reference_lesions"]),
        str(rule["false_lesions"]),
        str(rule["predicted_lesions"]),
        *(_share(rule[key]) for key in ("recall", "precision", "f1")),
    )


def _share(value: object) -> str:
    """A share, or the value of one with an interval."""
    return _number(value["value"] if isinstance(value, Mapping) else value)


def _special(rules: Mapping[str, Plain]) -> list[str]:
    lesion_wise, territories = rules["brats-mets-2023"], rules["cc-dice-mm"]
    return [
        f"brats-mets-2023: lesion-wise Dice {_number(lesion_wise['lesion_wise_dice'])}, "
        f"lesion-wise HD95 {_number(lesion_wise['lesion_wise_hd95_mm'])} mm",
        f"cc-dice-mm: mean Dice of {territories['reference_lesions']} territories "
        f"{_number(territories['dice'])}",
    ]


def _sides(scores: Plain) -> str:
    how = cast("Mapping[str, str]", scores["instances"])
    meant = {"labels": "each label", "components": "each 26-connected component"}
    return (
        f"One lesion of the prediction: {meant[how['prediction']]}; "
        f"of the reference: {meant[how['reference']]}."
    )


def _froc_lines(froc: object) -> list[str]:
    if froc is None:
        return ["FROC: not defined, as no confidence of the predicted lesions is known."]
    curve = cast("Mapping[str, Sequence[float]]", froc)
    points = ", ".join(
        f"{_number(recall)} at {allowed:g}"
        for allowed, recall in zip(curve["false_per_case"], curve["recall"], strict=True)
    )
    return [f"FROC (recall at false lesions per case): {points}; mean {_number(curve['score'])}"]


def _burden_lines(burden: Mapping[str, Plain]) -> list[str]:
    lines = []
    for side, values in burden.items():
        volume = cast("float", values["volume_mm3"]) / 1000
        text = f"{side.capitalize()}: {values['lesions']:g} lesions, {volume:.4g} mL"
        if "intensity_mean" in values:
            text += (
                f", mean intensity {_number(values['intensity_mean'])}, highest "
                f"{_number(values['intensity_max'])}, times mL "
                f"{_number(values['intensity_times_ml'])}"
            )
        lines.append(text)
    return lines


def _size_table(rules: Mapping[str, Plain]) -> list[str]:
    """Recall, and false lesions, by size under the first two rules."""
    rows = [
        (
            f"{name}, {_size(one)} mm",
            *(str(one[key]) for key in ("found_lesions", "reference_lesions")),
            *(str(one[key]) for key in ("false_lesions", "predicted_lesions")),
            *(_number(one[key]) for key in ("recall", "precision", "f1")),
        )
        for name in list(rules)[:2]
        for one in cast("Sequence[Mapping[str, float | None]]", rules[name]["by_size"])
    ]
    heads = ("lesions by diameter of the ball of their volume", *COUNTED[1:8])
    return _table(heads, rows)


def _size(one: Mapping[str, float | None]) -> str:
    """Diameters in mm of the balls of a size bin."""
    low, high = _diameter(one["from_mm3"]), _diameter(one["below_mm3"])
    return f"from {low}" if high is None else f"{low} to {high}"


def _diameter(volume_mm3: float | None) -> str | None:
    return None if volume_mm3 is None else f"{(6 * volume_mm3 / pi) ** (1 / 3):.3g}"


def _interval(one: Plain) -> tuple[str, str]:
    return _number(one["value"]), f"{_number(one['low'])} to {_number(one['high'])}"


def _listed(labels: object) -> str:
    numbers = cast("Sequence[int]", labels)
    shown = ", ".join(str(n) for n in numbers[:12])
    more = f" and {len(numbers) - 12} more" if len(numbers) > 12 else ""
    return f"{len(numbers)} ({shown}{more})" if numbers else "0"


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "-"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns: the first to the left, the others to the right."""
    table = [tuple(heads), *(tuple(row) for row in rows)]
    widths = [max(len(row[n]) for row in table) for n in range(len(heads))]
    return [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]

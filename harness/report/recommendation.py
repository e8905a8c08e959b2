"""A recommendation in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.analysis import statistics
from harness.analysis.budgets import SAME_BUDGET, one_budget
from harness.analysis.evidence import Estimate
from harness.analysis.needs import Needs
from harness.analysis.recommend import Recommendation, Rival, Setting
from harness.analysis.recommend_models import ModelChoice
from harness.base.formatting import amount, at_least, count, digits, milliseconds, per_vector, percent
from harness.report import markdown
from harness.runs.presets import DOCUMENTED, Preset
from harness.runs.store_indexes import index_of


def recommendation_text(answer: Recommendation) -> str:
    """Return the answer in a few lines."""
    lines: list[tuple[str, str]] = []
    choice, needs = answer.choice, answer.needs
    asked = " and ".join(needs.limits())
    if needs.min_retention is not None:
        asked = f"to {needs.keep(answer.measure)}" + (f", {asked}" if asked else "")
    if choice is None:
        head = f"No recommendation: {answer.why_none}"
    else:
        head = f"Recommended {asked}: {choice.name}"
        if answer.preset is not None:
            head += f" ({answer.preset.store}, {answer.preset.switch})"
            lines += [("set", text) if not place else ("", text) for place, text in enumerate(_setting(answer.preset))]
        lines += [("quality", _quality(answer, choice)), ("size", _size(choice, needs))]
        if needs.ram_bytes is not None or choice.disk_bytes > 0:
            disk = f", and {amount(choice.disk_bytes * needs.size)} on disk" if choice.disk_bytes > 0 else ""
            of = f" of {amount(needs.ram_bytes)}" if needs.ram_bytes is not None else ""
            lines.append(("memory", f"{amount(choice.memory_bytes)}{of} for {needs.size:,} vectors{disk}"))
            if answer.preset is not None:
                lines.append(("", _structure(answer.preset, choice)))
        if needs.max_query_ms is not None:
            lines.append(("search", f"{milliseconds(choice.query_ms)} a query"))
        if answer.runner_up is not None:
            lines.append(("runner-up", _runner_up(answer, choice, answer.runner_up)))
        else:
            lines.append(("runner-up", "none: nothing else on record will do"))
        if answer.own is not None:
            lines.append(("instead", _own(answer.own, answer.measure)))
    if answer.near_miss is not None:
        lines.append(("close" if choice is None else "smaller", _missed(answer.near_miss, needs)))
    where = "; ".join(
        f"{one.dataset}, {one.documents:,} documents, {one.queries:,} queries" for one in answer.collections
    )
    compared = f"{count(answer.compared, 'setting')} compared on " if answer.compared else ""
    lines.append(("evidence", f"{compared}{answer.collections[0].model}: {where}"))
    lines += [("" if place else "vectors", text) for place, text in enumerate(answer.geometry)]
    if answer.reproduce:
        lines += [("reproduce", answer.reproduce), ("export", answer.export)]
    elif choice is not None:
        lines.append(("reproduce", "the record holds no command"))
    if answer.preset is not None and answer.preset.evidence != "source":
        made = f"{answer.preset.store}'s preset was made from {DOCUMENTED[answer.preset.evidence]}"
        lines.append(("thin", f"{made} ({answer.preset.version}): the store itself may do otherwise"))
    lines += [("thin", reason) for reason in answer.thin] + [("note", note) for note in answer.notes]
    return "\n".join([head, *(f"  {label:<10} {text}" for label, text in lines)]) + "\n"


def models_text(choices: Sequence[ModelChoice], notes: Sequence[str]) -> str:
    """Return the models that were compared, in a line each, and then what is recommended with the first."""
    lines = [f"Recommended model: {choices[0].model}"]
    for choice in choices:
        assert choice.answer.choice is not None
        speed = "" if np.isnan(choice.docs_per_second) else f", {digits(choice.docs_per_second)} documents/s"
        sure = "" if choice.p == 1 else f" (p {markdown.p_value(choice.p)} against the highest)"
        lines.append(
            f"  {'*' if choice is choices[0] else ' '} {choice.model}: {amount(choice.model_bytes)}{speed}; "
            f"{choice.answer.measure} {choice.quality:.4f}{sure} with {choice.answer.choice.name}"
        )
    if len(choices) > 1:
        lines.append(
            f"  of models within {100 * statistics.MARGIN:g} % of the highest and not significantly less, the smallest"
        )
    lines += [f"  left out   {note}" for note in notes]
    return "\n".join(lines) + "\n\n" + recommendation_text(choices[0].answer)


def _structure(preset: Preset, choice: Setting) -> str:
    """Return what of the memory is the store's own graph or lists."""
    structure = index_of(preset.name)
    if structure is None:
        return f"of codes alone: what {preset.store}'s index adds is not known here"
    return (
        f"of that {per_vector(choice.structure_bytes)} a vector for {preset.store}'s index as it ships "
        f"({structure.words}), {per_vector(choice.resident_bytes + choice.structure_bytes)} in all; what it finds less "
        f"than all codes do is not in the quality: measure it by index={structure.name}"
    )


def _quality(answer: Recommendation, choice: Setting) -> str:
    one = len(answer.collections) == 1
    if choice.share is not None and answer.measure == "nDCG@10":
        share, low, high = (percent(part) for part in choice.share)
        text = f"{share} of float32's {answer.measure}, 95 % interval {low} to {high}"
        if _has_bound(choice):
            text += f", at least {at_least(choice.bound)} with {100 * answer.needs.level:g} % confidence"
        text += f"; {answer.measure} {_interval(choice.quality)}"
    else:
        text = f"{answer.measure} {_interval(choice.quality)}"
        if _has_bound(choice):
            text += f", at least {choice.bound:.4f} with {100 * answer.needs.level:g} % confidence"
    if not one:
        text += f"; means over {len(answer.collections)} collections, intervals over collections and queries"
    if choice.lowest is not None:
        text += f"; lowest {percent(choice.lowest[0])} on {choice.lowest[1]}"
    return text


def _has_bound(setting: Setting) -> bool:
    """Whether a lower bound of what it keeps was asked for."""
    return bool(np.isfinite(setting.bound))


def _setting(preset: Preset) -> list[str]:
    """Return the store's own configuration, line by line."""
    return [*preset.setting.splitlines(), f"(as of {preset.version})"]


def _own(rival: Rival, measure: str) -> str:
    """Say what the project's own methods would keep in the same memory."""
    setting = rival.setting
    kept = f"would keep {percent(setting.share.value)} of float32's {measure}" if setting.share else "would score"
    if setting.share is None:
        kept += f" {setting.quality.value:.4f}"
    elif measure != "nDCG@10":
        kept = f"would have an {measure} of {setting.quality.value:.4f}"
    if abs(rival.difference) < 5e-5:
        verdict = "the same"
    else:
        more = "more" if rival.difference > 0 else "less"
        sure = "significantly" if rival.p < statistics.ALPHA else "not significantly"
        verdict = f"{percent(abs(rival.difference), 2)} {more}, {sure} (p {markdown.p_value(rival.p)}, corrected)"
    disk = "" if setting.disk_bytes <= 0 else f" and {per_vector(setting.disk_bytes)} on disk"
    where = f"{per_vector(setting.bytes_per_vector)} in memory{disk}"
    return f"the best of this project's own methods for that memory, {setting.name} ({where}), {kept}: {verdict}"


def _size(choice: Setting, needs: Needs) -> str:
    state = f" and {amount(choice.state_bytes)} of shared state" if choice.state_bytes else ""
    smaller = f", {choice.compression:.1f} times smaller than float32" if np.isfinite(choice.compression) else ""
    if needs.database is not None:
        disk = f", and {per_vector(choice.disk_bytes)} on disk" if choice.disk_bytes > 0 else ""
        return f"{per_vector(choice.bytes_per_vector)} per vector in memory{smaller}{disk}"
    assumed = "" if needs.corpus_size is not None else " (assumed; --corpus-size)"
    return (
        f"{per_vector(choice.bytes_per_vector)} per vector{smaller}; "
        f"{amount(choice.index_bytes)} for {needs.size:,} vectors{assumed}: {per_vector(choice.code_bytes)} of codes "
        f"each{state}"
    )


def _runner_up(answer: Recommendation, choice: Setting, rival: Rival) -> str:
    text = f"{rival.setting.name} ({per_vector(rival.setting.bytes_per_vector)})"
    among = answer.compared > 2 and answer.needs.min_retention is None
    p = f"p {markdown.p_value(rival.p)}{f', corrected for {answer.compared - 1}' if among else ''}"
    if abs(rival.difference) < 5e-5:
        verdict = "scores the same"
    else:
        amount = "more than nothing" if np.isinf(rival.difference) else percent(abs(rival.difference), 2)
        more = "more" if rival.difference > 0 else "less"
        verdict = f"scores {amount if np.isinf(rival.difference) else f'{amount} {more}'}"
        verdict += f", significantly ({p})" if rival.p < statistics.ALPHA else f", not significantly ({p})"
    if answer.needs.min_retention is not None:
        bound = at_least(rival.setting.bound)
        return f"{text} keeps it too (at least {bound}), but {_why(choice, rival.setting)}; it {verdict}"
    if rival.interchangeable:
        return f"{text} {verdict}: interchangeable, but {_why(choice, rival.setting)}"
    if rival.p < statistics.ALPHA:
        return f"{text} {verdict}"
    return f"{text} {verdict}: too few queries to be sure"


def _why(choice: Setting, other: Setting) -> str:
    """Say why a setting lost to one that is as good."""
    extra = other.bytes_per_vector - choice.bytes_per_vector
    same = bool(one_budget(other.bytes_per_vector, choice.bytes_per_vector))
    if extra > 0 and not same:
        return f"takes {per_vector(extra)} more"
    added = [name for name in other.complications if name not in choice.complications]
    if added and len(other.complications) > len(choice.complications):
        return f"needs {' and '.join(added)}"
    if extra >= 0.05:
        return f"takes {per_vector(extra)} more"
    small = f"less than {100 * SAME_BUDGET:g} % smaller" if same and extra <= -0.05 else "no smaller"
    return f"is {small} and no simpler"


def _missed(setting: Setting, needs: Needs) -> str:
    share = "" if setting.share is None else f" keeps {percent(setting.share.value, 2)} as measured, but"
    return (
        f"{setting.name} ({per_vector(setting.bytes_per_vector)}){share} only {at_least(setting.bound)} with "
        f"{100 * needs.level:g} % confidence"
    )


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"

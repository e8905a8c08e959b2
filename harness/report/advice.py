"""Advice in ten lines, and on a page."""

from __future__ import annotations

import html
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from harness.analysis.budgets import one_budget
from harness.base.errors import ConfigError
from harness.base.formatting import amount, per_vector, percent
from harness.tuning.advise import Advice, Rung
from harness.tuning.result import Figure
from harness.tuning.space import written

OTHERS = 3
"""Settings that are named beside the choice."""


def advice_text(found: Advice, source: Sequence[str]) -> str:
    """Return the advice in a few lines.

    Parameters
    ----------
    found : Advice
    source : sequence of str
        Overrides that name the data, for the commands.
    """
    lines = advice_lines(found, source)
    return "\n".join([_head(found), *(f"  {label:<10} {text}" for label, text in lines)]) + "\n"


def advice_lines(found: Advice, source: Sequence[str]) -> list[tuple[str, str]]:
    """Return what the advice says, as labels and texts."""
    choice = found.choice
    lines = [("store", f"{choice.candidate.name}, {choice.outcome.resident_bytes:.1f} bytes a document")]
    if choice.preset is not None:
        lines += [("" if place else "set", text) for place, text in enumerate(choice.preset.setting.split("\n"))]
    kept = f"overlap@10 {_interval(found.kept)} with the float vectors, on queries that chose nothing"
    lines.append(("keeps", kept))
    if found.share is not None:
        low, high = (percent(bound) for bound in (found.share.low, found.share.high))
        lines.append(("", f"{percent(found.share.value)} of their nDCG@10 ({low} to {high}), on these documents"))
    lines.append(("takes", _takes(found)))
    others = [rung for rung in found.ladder[1:] if rung.outcome.documents == choice.outcome.documents][:OTHERS]
    if others:
        named = ", ".join(f"{rung.candidate.name} {rung.outcome.quality:.3f}" for rung in others)
        lines.append(("next", f"{named}; the choice {choice.outcome.quality:.3f} there"))
    lines += [("" if place else "vectors", text) for place, text in enumerate(_geometry(found))]
    lines.append(("evidence", _evidence(found)))
    if not found.fitted_apart and found.needs.size > found.documents:
        lines.append(("thin", "what is fitted on few documents knows them by heart: of many more it keeps less"))
    lines += [
        ("export", command) if not place else ("", command) for place, command in enumerate(_export(found, source))
    ]
    lines.append(("more", shlex.join(["vecbudget", "tune", "--max-bytes", f"{int(found.budget)}", *source])))
    return lines


def write_advice(found: Advice, source: Sequence[str], path: Path) -> Path:
    """Write the advice as one HTML page; return its path.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    template = Template(files("harness.report").joinpath("templates", "advice.html").read_text(encoding="utf-8"))
    facts = "\n".join(
        f"<tr><th>{html.escape(label)}</th><td>{_marked(label, text)}</td></tr>"
        for label, text in advice_lines(found, source)
    )
    page = template.substitute(
        title=html.escape(_head(found)),
        facts=facts,
        rows="\n".join(_row(found, rung) for rung in found.ladder),
        left="".join(f"<li>{html.escape(f'{name}: {why}')}</li>" for name, why in _left_out(found)),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigError(f"--out: {path} cannot be written ({error.strerror or error})") from error
    return path


def _head(found: Advice) -> str:
    asked = " and ".join(found.needs.limits())
    return f"{found.dataset}: {found.documents:,} documents of {found.width} dimensions, {asked}"


def _interval(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _takes(found: Advice) -> str:
    """Say what the corpus takes in memory and on disk, beside float32."""
    needs, outcome = found.needs, found.choice.outcome
    of = "" if needs.ram_bytes is None else f" of {amount(needs.ram_bytes)}"
    on_disk = outcome.code_bytes - outcome.resident_bytes
    disk = f", {amount(on_disk * needs.size)} on disk" if on_disk > 0 else ""
    whole = f"{amount(found.total_bytes)}{of} for {needs.size:,} documents{disk}"
    return f"{whole}; float32 {amount(4.0 * found.width * needs.size)}"


def _geometry(found: Advice) -> list[str]:
    if found.warnings:
        return list(found.warnings)
    length = found.geometry.mean_length
    return [f"the mean document has length {length:.2f}: nothing to beware of in stores' binary switches"]


def _evidence(found: Advice) -> str:
    measured = len(found.ladder)
    looked = f"{len(found.choice.outcome.overlaps):,} {found.queries_are}, {found.sample:,} documents"
    apart = f", fitted on {'others' if found.fitted_apart else 'them'}"
    late = f"; no time for {len(found.untried)} more" if found.untried else ""
    return f"{measured} settings on {looked}{apart}, {found.seconds:.0f} s{late}"


def _export(found: Advice, source: Sequence[str]) -> list[str]:
    """Return the commands that make the index of all documents."""
    parameters = [f"method.{place}={value}" for place, value in _changed(found.choice).items()]
    run = ["vecbudget", "run", *source, f"method={found.choice.candidate.method}", *parameters]
    return [shlex.join(run), "vecbudget export RUN_ID --out DIR"]


def _changed(rung: Rung) -> dict[str, str]:
    """Return what of the setting is not as its yaml has it: the parameters that fill the budget."""
    return {place: written(rung.candidate.settings[place]) for place in rung.candidate.changed}


def _row(found: Advice, rung: Rung) -> str:
    """Return a row of the ladder, with a bar."""
    outcome = rung.outcome
    figure = rung.overlap
    chosen = ' class="chosen"' if rung is found.choice else ""
    less = "" if one_budget(outcome.resident_bytes, found.budget) else " less"
    cells = (
        html.escape(rung.candidate.name),
        f'<span class="size{less}">{html.escape(per_vector(outcome.resident_bytes))}</span>',
        f'<span class="bar" style="width:{100 * figure.value:.1f}%"></span>{_interval(figure)}',
        f"{outcome.documents:,}",
        f"{outcome.documents_per_second:,.0f}",
    )
    return f"<tr{chosen}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _left_out(found: Advice) -> list[tuple[str, str]]:
    return [*found.refused, *((name, "no time was left") for name in found.untried)]


def _marked(label: str, text: str) -> str:
    """Return a text for the page: commands in their own type."""
    escaped = html.escape(text)
    return f"<code>{escaped}</code>" if text.startswith("vecbudget ") or label in ("set",) else escaped

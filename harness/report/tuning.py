"""What a search found: some lines for a terminal, a page and a picture for its folder."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.statistics import compare
from harness.base.errors import ConfigError
from harness.base.formatting import count
from harness.evaluation.metric_registry import metric
from harness.report import markdown
from harness.report.figures import style
from harness.tuning.dataset_search import Tuned
from harness.tuning.importance import importance
from harness.tuning.result import Figure, Result
from harness.tuning.study import Speed, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

Scale = Callable[[object], float]

TIMES: Mapping[Speed, str] = {"search": "milliseconds a query", "encode": "microseconds a document encoded"}

SHOWN = 12
"""Parameters whose importance is shown, and lines of the picture of methods."""


def tuned_text(found: Tuned) -> str:
    """Return the answer in a few lines."""
    result = found.result
    lines = [
        ("looked at", found.looked_at),
        ("tried", _states(result.trials)),
        ("overlap@10", f"{_interval(Figure.of(result.best.overlaps))} on the queries it was chosen by"),
        ("luck", f"choosing adds {result.optimism:.4f} to that, by the bootstrap over queries"),
    ]
    tested = result.tested.get(result.best.number)
    if tested is not None:
        lines += [
            ("test", f"{metric(name).label} {_interval(Figure.of(values))}") for name, values in tested.metrics.items()
        ]
    if (versus := _against_usual(found)) and result.usual is not None:
        lines.append(("against", f"{result.usual.candidate.method} as it is: {versus}"))
    lines += [
        ("run it", run_command(found)),
        ("all", f"{found.folder / 'tune.md'}; yamls in {found.folder / 'method'}"),
    ]
    best = result.best
    head = f"{found.dataset} x {found.model}, {found.search.limits.max_bytes} B: {best.candidate.name}"
    return "\n".join([f"{head} ({best.nbytes:.1f} B)", *(f"  {label:<10} {text}" for label, text in lines)]) + "\n"


def run_command(found: Tuned) -> str:
    """Return the command that runs the winner, without what names the data."""
    return (
        shlex.join(["vecbudget", "run", "--config-dir", str(found.folder), f"method={found.name}"])
        + " model=... dataset=..."
    )


def write_tuned(found: Tuned) -> list[Path]:
    """Write the page and the picture to the search's folder; return their paths.

    Raises
    ------
    ConfigError
        If the folder cannot be written.
    """
    try:
        page = found.folder / "tune.md"
        pictures = style.save(draw(found), found.folder / "tune")
        page.write_text(tuned_markdown(found), encoding="utf-8", newline="\n")
        return [page, *pictures]
    except OSError as error:
        raise ConfigError(f"--out: {found.folder} cannot be written ({error.strerror or error})") from error


def tuned_markdown(found: Tuned) -> str:
    """Return the page."""
    result, limits = found.result, found.search.limits
    parts = [
        f"# {markdown.cell(found.dataset)} · {markdown.cell(found.model)}: the best of {limits.max_bytes} bytes",
        f"**{markdown.cell(result.best.candidate.name)}**, {result.best.nbytes:.1f} bytes a document. Looked at: "
        f"{found.looked_at}. {_states(result.trials).capitalize()}.",
        "![Settings, parameters and what they are worth](tune.png)",
        _test_section(found),
        f"## The front\nSettings that no other one beats in {_objectives(found.search.speed)}, on the queries that "
        f"they were chosen by. Each is a yaml in the folder `method`.\n\n{_front_table(found)}",
        f"## All settings\n{_all_table(result.trials)}",
        f"`{run_command(found)}`",
    ]
    return "\n\n".join(parts) + "\n"


def _objectives(speed: Speed | None) -> str:
    """Name what was searched for."""
    if speed is None:
        return "bytes and overlap@10 with the float ranking"
    return f"bytes, overlap@10 with the float ranking and {TIMES[speed]}"


def _test_section(found: Tuned) -> str:
    """Say what the winner does on the test queries, and what of its lead was luck."""
    result = found.result
    rows = []
    for trial in (result.best, result.usual):
        if trial is None or trial.number not in result.tested:
            continue
        tested = result.tested[trial.number]
        rows.append(
            [
                markdown.cell(trial.candidate.name),
                _interval(Figure.of(trial.overlaps)),
                *(
                    _interval(Figure.of(tested.metrics[name])) if name in tested.metrics else "–"
                    for name in ("overlap_at_10", "ndcg_at_10")
                ),
                f"`{tested.run_id}`",
            ]
        )
        if result.usual is result.best:
            break
    table = markdown.table(
        ["setting", "overlap@10, tuning", "overlap@10, test", "nDCG@10, test", "run"], rows, {1, 2, 3}
    )
    text = (
        "## On the test queries\nThey were looked at once, after the choice. Intervals of 95 %.\n\n"
        f"{table}\n\nThe best of {count(len([t for t in result.trials if t.state == 'measured']), 'measured setting')} "
        f"looks {result.optimism:.4f} better on the queries that it was chosen by than on others (bootstrap over "
        "queries): so much of its lead is luck."
    )
    versus = _against_usual(found)
    return f"{text} Against {result.usual.candidate.method} as it is: {versus}." if versus and result.usual else text


def _against_usual(found: Tuned) -> str:
    """Return the difference to the usual setting on the tuning queries and on the test queries; "" without it."""
    result = found.result
    if result.usual is None or result.usual is result.best:
        return ""
    pairs = [("tuning overlap@10", result.best.overlaps, result.usual.overlaps)]
    ours, theirs = (result.tested.get(trial.number) for trial in (result.best, result.usual))
    if ours is not None and theirs is not None:
        pairs += [
            (f"test {metric(name).label}", ours.metrics[name], theirs.metrics[name])
            for name in ours.metrics
            if name in theirs.metrics
        ]
    said = []
    for label, best, usual in pairs:
        difference = compare(best[None], usual).difference
        low, high, middle = (float(part[0]) for part in (difference.low, difference.high, difference.estimate))
        said.append(f"{label} {middle:+.4f} ({low:+.4f} to {high:+.4f})")
    return ", ".join(said)


def _front_table(found: Tuned) -> str:
    rows = []
    for trial in found.result.front:
        name = found.name if trial is found.result.best else f"{found.name}_trial{trial.number}"
        rows.append(
            [
                f"{trial.nbytes:.1f}",
                markdown.cell(trial.candidate.name),
                _interval(Figure.of(trial.overlaps)),
                f"{trial.attributes['docs_per_second']:,.0f}",
                f"{trial.attributes['query_ms']:.2f}",
                f"`{name}`",
            ]
        )
    return markdown.table(
        ["bytes/document", "setting", "overlap@10", "documents/s", "ms/query", "yaml"], rows, {0, 2, 3, 4}
    )


def _all_table(trials: Sequence[Trial]) -> str:
    states = {
        "measured": "",
        "stopped": "behind at the first look",
        "beyond": "beyond the limits",
        "failed": "",
    }
    ordered = sorted(trials, key=lambda trial: (-trial.quality if trial.state == "measured" else 1, trial.number))
    rows = [
        [
            str(trial.number),
            markdown.cell(trial.candidate.name),
            "–" if trial.state == "failed" else f"{trial.nbytes:.1f}",
            f"{trial.quality:.4f}" if trial.state == "measured" else "–",
            "–" if trial.state == "failed" else f"{trial.attributes['fit_seconds']:.1f}",
            markdown.cell(trial.why) or states[trial.state],
        ]
        for trial in ordered
    ]
    return markdown.table(["trial", "setting", "bytes/document", "overlap@10", "fit, s", ""], rows, {0, 2, 3, 4})


def _states(trials: Sequence[Trial]) -> str:
    """Say how many settings came to what end."""
    ends = [trial.state for trial in trials]
    said = [f"{ends.count('measured')} of {count(len(ends), 'setting')} measured on the whole"]
    said += [f"{ends.count('stopped')} stopped after a first look"] if "stopped" in ends else []
    said += [f"{ends.count('beyond')} beyond the limits"] if "beyond" in ends else []
    said += [f"{ends.count('failed')} refused"] if "failed" in ends else []
    return ", ".join(said)


def _interval(figure: Figure) -> str:
    return f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


def draw(found: Tuned) -> Picture:
    """Draw every setting by its method, the best method's parameters, and what each parameter is worth."""
    trials = [trial for trial in found.result.trials if trial.state == "measured"]
    with style.style():
        speed = found.search.speed
        figure = style.new_figure(style.WIDTH, style.TALL * (1.5 if speed else 1))
        figure.suptitle(
            f"{found.dataset} · {found.model}: settings within {found.search.limits.max_bytes} bytes a document",
            x=0.01,
            ha="left",
            fontsize=11,
        )
        grid = figure.add_gridspec(3 if speed else 2, 2)
        _draw_methods(figure.add_subplot(grid[0, 0]), trials, found.result.best)
        # what a byte more or less is worth, everybody knows
        _draw_importance(
            figure.add_subplot(grid[0, 1]), [trial for trial in trials if _fills(trial, found.result.best)]
        )
        _draw_parallel(figure.add_subplot(grid[1, :]), trials, found.result.best)
        if speed:
            _draw_speed(figure.add_subplot(grid[2, :]), trials, found.result, speed)
    return figure


def _draw_speed(panel: Axes, trials: Sequence[Trial], result: Result, speed: Speed) -> None:
    """Draw every setting by its time and overlap, coloured by its bytes; those of the front have a ring."""
    costs = [trial.cost(speed) for trial in trials]
    dots = panel.scatter(
        costs,
        [trial.quality for trial in trials],
        c=[trial.nbytes for trial in trials],
        cmap="viridis_r",
        s=30,
        linewidths=0,
    )
    panel.scatter(
        [trial.cost(speed) for trial in result.front],
        [trial.quality for trial in result.front],
        facecolors="none",
        edgecolors="black",
        s=75,
        linewidths=1,
    )
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.set_xlabel(TIMES[speed])
    panel.set_ylabel("overlap@10")
    panel.set_title("Time against overlap (ring: no other one is as small, as good and as fast)")
    panel.figure.colorbar(dots, ax=panel, label="bytes/document", pad=0.01)


def _draw_methods(panel: Axes, trials: Sequence[Trial], best: Trial) -> None:
    """Draw a dot for each setting, a row for each method, the best method on top."""
    names = sorted(
        {trial.candidate.method for trial in trials},
        key=lambda name: max(trial.quality for trial in trials if trial.candidate.method == name),
    )[-SHOWN:]
    for row, name in enumerate(names):
        own = [trial for trial in trials if trial.candidate.method == name]
        smaller = [trial.quality for trial in own if not _fills(trial, best)]
        whole = [trial.quality for trial in own if _fills(trial, best)]
        for values, face in ((smaller, "white"), (whole, style.COLOURS[0])):
            panel.plot(
                values,
                [row] * len(values),
                linestyle="none",
                marker="o",
                markersize=5,
                markerfacecolor=face,
                markeredgecolor=style.COLOURS[0],
            )
    panel.set_yticks(range(len(names)), names)
    panel.set_xlabel("overlap@10 with the float ranking")
    panel.set_title("Settings by method (open: smaller than the budget)")


def _fills(trial: Trial, best: Trial) -> bool:
    """Whether a setting is about as large as the best one."""
    return trial.nbytes >= 0.9 * best.nbytes


def _draw_importance(panel: Axes, trials: Sequence[Trial]) -> None:
    """Draw how much of the settings' spread each parameter explains."""
    shares = importance(trials)
    panel.set_title("What the choice of each is worth")
    if not shares:
        panel.text(0.5, 0.5, "too few settings to tell", ha="center", va="center", transform=panel.transAxes)
        panel.set_axis_off()
        return
    shown = list(shares.items())[:SHOWN][::-1]
    panel.barh([name for name, _ in shown], [100 * share for _, share in shown], color=style.COLOURS[2], height=0.6)
    panel.set_xlabel("% of the variance of overlap@10, by a random forest")


def _draw_parallel(panel: Axes, trials: Sequence[Trial], best: Trial) -> None:
    """Draw the settings of the best method as lines over its parameters, coloured by overlap."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    own = sorted(
        (trial for trial in trials if trial.candidate.method == best.candidate.method), key=lambda one: one.quality
    )
    places = [
        place
        for place in dict.fromkeys(place for trial in own for place in trial.candidate.settings)
        if len({trial.candidate.settings.get(place) for trial in own}) > 1
    ]
    panel.set_title(f"Parameters of {best.candidate.method} that were varied: a line a setting")
    if not places:
        panel.text(0.5, 0.5, "one setting only", ha="center", va="center", transform=panel.transAxes)
        panel.set_axis_off()
        return
    axes = [*places, "overlap@10"]
    colours = Normalize(min(trial.quality for trial in own), max(trial.quality for trial in own) + 1e-9)
    palette = colormaps["viridis"]
    scales = {place: _scale([trial.candidate.settings.get(place) for trial in own]) for place in places}
    scales["overlap@10"] = _scale([trial.quality for trial in own])
    for trial in own:
        values = [scales[place][0](trial.candidate.settings.get(place)) for place in places]
        values.append(scales["overlap@10"][0](trial.quality))
        panel.plot(
            range(len(axes)), values, color=palette(colours(trial.quality)), linewidth=2.4 if trial is best else 1.0
        )
    for place, name in enumerate(axes):
        panel.axvline(place, color=style.QUIET, linewidth=0.7)
        for height, text in scales[name][1]:
            panel.annotate(
                text,
                (place, height),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=7.5,
                va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
            )
    panel.set_xticks(range(len(axes)), axes)
    panel.set_xlim(-0.05, len(axes) - 0.7)
    panel.set_yticks([])
    panel.grid(visible=False)
    panel.figure.colorbar(ScalarMappable(norm=colours, cmap=palette), ax=panel, label="overlap@10", pad=0.01)


def _scale(values: Sequence[object]) -> tuple[Scale, list[tuple[float, str]]]:
    """Return what places a value on an axis from 0 to 1, and the labels of that axis."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(values) and len(set(numbers)) > 1:
        low, high = float(min(numbers)), float(max(numbers))
        ends = [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")]
        return (lambda value: (float(value) - low) / (high - low)), ends  # type: ignore[arg-type]
    kinds = sorted({_word(value) for value in values})
    step = 1 / max(len(kinds) - 1, 1)
    return (lambda value: kinds.index(_word(value)) * step), [(place * step, kind) for place, kind in enumerate(kinds)]


def _word(value: object) -> str:
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

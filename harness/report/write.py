"""Reports: Pareto tables and plots from the frame of all runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis import saved, settings, store_settings
from harness.analysis.frontier_uncertainty import analyse
from harness.analysis.representations import representations
from harness.analysis.search_effort import searched
from harness.analysis.significance import with_intervals
from harness.base.errors import MissingExtraError
from harness.base.files import whole, writing
from harness.report import markdown, search_effort, stores_int8, views
from harness.report import stores as databases
from harness.report.figures import overview, pareto, spectrum, style
from harness.report.figures.distortion import can_draw_distortion, draw_distortion
from harness.report.figures.representations import draw_representations
from harness.report.figures.search_effort import draw_search_effort
from harness.report.figures.stores import can_draw, draw
from harness.report.frontier import dominance_markdown
from harness.report.page import page_markdown
from harness.report.site.pages import write_site
from harness.report.summary import summary_markdown
from harness.report.view import TableOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from harness.analysis.settings import Page
    from harness.analysis.significance import PerQuery
    from harness.report.site.pages import Records

__all__ = ["write_report"]

log = logging.getLogger(__name__)


def write_report(
    frame: pd.DataFrame,
    out: Path,
    *,
    command: str = "vecbudget report",
    per_query: PerQuery | None = None,
    options: TableOptions | None = None,
    records: Records | None = None,
    site: bool = True,
) -> list[Path]:
    """Write tables and plots of all runs to the folder `out`.

    Parameters
    ----------
    frame : DataFrame
        One row a run, as `harness.runs.frame.load_runs` returns it.
    out : Path
        Made if need be. Files of an earlier report are replaced, and others left alone.
    command : str
        What the pages name as the command that wrote them.
    per_query : callable or None
        Returns the queries' scores of a run id, as `harness.runs.store.Store.per_query` does; None leaves out what says
        how certain the figures are.
    options : TableOptions or None
        Of the tables in `tables/`; None for the usual ones.
    records : callable or None
        Returns the record of a run id, as `harness.runs.store.Store.read` does: then there are figures of the spectra
        that the records hold, pages on vector stores' switches, and the leaderboard.
    site : bool
        Write the leaderboard too, into `site/`, if the packages of the extra "site" are installed.

    Returns
    -------
    list of Path
        The files: `summary.md`, `runs.csv` and `scores.parquet` (see `harness.analysis.saved`), then for each dataset
        and model a page (.md), its table (.csv) and its plot (.png, .svg), and where errors are known at two sizes at
        least, a plot of them (-distortion.png, .svg); likewise what queries lose (-queries), the speed (-speed), and
        the spectrum with the bits of its axes (-spectrum).
        Without a successful run there is a page alone. With several collections, plots over all of them
        (`collections`, `kept-<budget>-bytes`). With `per_query`, the Pareto analysis of each page (-pareto.md); and
        `tables/`, every view of the results as Markdown, CSV, Parquet and LaTeX. Where presets of vector stores were
        run, `databases--<page>` (.md, .csv, .png, .svg), and `databases_int8` (.md, .csv) over all collections; where
        index structures were, `indexes--<page>` (.md, .csv, .png, .svg).

    Raises
    ------
    StoreError
        If there is no run, a column is missing, or the folder cannot be written.
    ConfigError
        If the options name a column or setting that there is not, or the filter is none.
    """
    settings.check(frame)
    with writing(out):
        return _write_report(frame, out, command, per_query, options or TableOptions(), records, site)


def _write_report(
    frame: pd.DataFrame,
    out: Path,
    command: str,
    per_query: PerQuery | None,
    options: TableOptions,
    records: Records | None,
    site: bool,
) -> list[Path]:
    found = settings.pages(frame)
    if per_query is not None:
        found = [with_intervals(page, per_query) for page in found]
    shares = analyse(found) if per_query is not None else []
    analysed = {own.title: own for own in shares}
    looks = style.family_looks(settings.families(frame))
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    drawn: list[str] = []
    without: list[str] = []
    for page in found:
        figure = distortion = None
        files: list[Path] = []
        if len(page.settings):
            files.append(_write(out / f"{page.stem}.csv", page.settings.to_csv(index=False, float_format="%.10g")))
        if pareto.can_draw(page):
            files += style.save(pareto.draw(page, looks), out / page.stem)
            figure = f"{page.stem}.png"
            drawn.append(page.stem)
        if can_draw_distortion(page):
            files += style.save(draw_distortion(page, looks), out / f"{page.stem}-distortion")
            distortion = f"{page.stem}-distortion.png"
        more: list[tuple[str, str]] = []
        if overview.can_draw_lost(page):
            files += style.save(overview.draw_lost(page), out / f"{page.stem}-queries")
            more.append(("What queries lose and gain", f"{page.stem}-queries.png"))
        if overview.can_draw_speed(page):
            files += style.save(overview.draw_speed(page, looks), out / f"{page.stem}-speed")
            more.append(("Quality against speed", f"{page.stem}-speed.png"))
        of_axes = None if records is None else spectrum.spectra(page, records)
        if of_axes is not None:
            files += style.save(spectrum.draw_spectra(of_axes), out / f"{page.stem}-spectrum")
            more.append(("Where the power is, and where the bits go", f"{page.stem}-spectrum.png"))
        elif records is not None and len(page.settings):
            without.append(page.title)
        analysis = None
        if page.title in analysed:
            analysis = f"{page.stem}-pareto.md"
            files.append(_write(out / analysis, dominance_markdown(analysed.pop(page.title))))
        text = page_markdown(page, figure, command, distortion, more, analysis)
        written += [_write(out / f"{page.stem}.md", text), *files]
    if without:
        log.warning("no figure of the spectrum, which older records do not hold, for %s", ", ".join(without))
    stores = [] if records is None else _write_databases(found, records, out, command)
    indexes = [] if records is None else _write_indexes(found, records, out, command)
    written += [*stores, *indexes]
    measured = [page for page in found if page.stem in drawn]
    overall: list[tuple[str, str]] = []
    if len(measured) > 1:
        written += style.save(overview.draw_side_by_side(measured, looks), out / "collections")
        overall.append(("Collections side by side", "collections.png"))
    for one in representations(found):
        own = [page for page in found if len(page.settings) and page.settings["dataset"].iloc[0] == one.collection]
        stem = settings.file_stem(f"representations · {one.collection}", set())
        written += style.save(draw_representations(one, own), out / stem)
        overall.append((f"{one.collection}: what one more byte buys", f"{stem}.png"))
    for budget in overview.heat_map_budgets(measured):
        written += style.save(overview.draw_heat_map(measured, budget), out / f"kept-{budget}-bytes")
        overall.append((f"Within {budget} bytes", f"kept-{budget}-bytes.png"))
    analyses = []
    taken = {page.stem.lower() for page in found}
    for title, pooled in analysed.items():
        stem = settings.file_stem(title, taken)
        written.append(_write(out / f"{stem}-pareto.md", dominance_markdown(pooled)))
        analyses.append((title, f"{stem}-pareto.md"))
    summary = summary_markdown(found, frame, drawn, command, overall, analyses)
    if stores:
        links = [f"[{markdown.cell(path.stem)}]({path.name})" for path in stores if path.suffix == ".md"]
        summary += f"\nVector stores' switches: {', '.join(links)}.\n"
    if indexes:
        links = [f"[{markdown.cell(path.stem)}]({path.name})" for path in indexes if path.suffix == ".md"]
        summary += f"\nLists and graphs: {', '.join(links)}.\n"
    with_settings = [page for page in found if len(page.settings)]
    if with_settings:
        for view in views.all_views(with_settings, options, shares=shares):
            written += views.save(view, out / "tables")
    kept = saved.save(frame, per_query, out)
    # last of the tables: where it is, they are
    written = [_write(out / "summary.md", summary), *kept, *written]
    if records is not None and site:
        try:
            written += write_site(frame, out / "site", pages=found, records=records, command=command)
        except MissingExtraError as error:
            log.warning("no leaderboard: %s", error)
    log.info("wrote %d files to %s", len(written), out)
    return written


def _write_indexes(pages: Sequence[Page], records: Records, out: Path, command: str) -> list[Path]:
    """Write what lists and graphs cost and find, where there are any."""
    written: list[Path] = []
    for page in pages:
        points = searched(page, records)
        if points:
            stem = f"indexes--{page.stem}"
            written += style.save(draw_search_effort(page, points), out / stem)
            text = search_effort.markdown(page, points, f"{stem}.png", command)
            rows = search_effort.frame(points).to_csv(index=False, float_format="%.10g")
            written += [_write(out / f"{stem}.md", text), _write(out / f"{stem}.csv", rows)]
    return written


def _write_databases(pages: Sequence[Page], records: Records, out: Path, command: str) -> list[Path]:
    """Write what vector stores' switches keep, where their presets were run."""
    written: list[Path] = []
    found = [own for page in pages if (own := store_settings.switches(page, records)) is not None]
    for own in found:
        stem, figure = f"databases--{own.page.stem}", None
        if can_draw(own):
            written += style.save(draw(own), out / stem)
            figure = f"{stem}.png"
        written.append(_write(out / f"{stem}.md", databases.markdown(own, figure, command)))
        written.append(_write(out / f"{stem}.csv", databases.frame(own).to_csv(index=False, float_format="%.10g")))
    rows = stores_int8.int8_settings(found)
    if len(rows) > 1:
        written.append(_write(out / "databases_int8.md", stores_int8.markdown(rows, found, records, command)))
        written.append(
            _write(out / "databases_int8.csv", stores_int8.frame(rows, found).to_csv(index=False, float_format="%.10g"))
        )
    return written


def _write(path: Path, text: str) -> Path:
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")
    return path

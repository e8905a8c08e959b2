"""Reports: Pareto tables and plots from the frame of all runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis import saved, settings, store_settings
from harness.analysis.encoders import encoders
from harness.analysis.frontier_uncertainty import analyse
from harness.analysis.layer_grid import layer_grids
from harness.analysis.representations import representations
from harness.analysis.search_effort import searched
from harness.analysis.significance import with_intervals
from harness.base.errors import MissingExtraError
from harness.base.files import whole, writing
from harness.report import markdown, search_effort, stores_int8, views
from harness.report import stores as databases
from harness.report.figures import overview, pareto, spectrum, style
from harness.report.figures.distortion import can_draw_distortion, draw_distortion
from harness.report.figures.encoders import can_draw_encoders, draw_encoders
from harness.report.figures.layers import draw_layers
from harness.report.figures.representations import draw_representations
from harness.report.figures.search_effort import draw_search_effort
from harness.report.figures.stores import can_draw, draw
from harness.report.frontier import dominance_markdown
from harness.report.layers_view import stem_of
from harness.report.page import page_markdown
from harness.report.pictures import Pictures
from harness.report.site.pages import write_site
from harness.report.summary import summary_markdown
from harness.report.view import TableOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from harness.analysis.search_effort import Searched
    from harness.analysis.settings import Page
    from harness.analysis.significance import PerQuery
    from harness.analysis.store_settings import Switches
    from harness.report.site.pages import Records

__all__ = ["write_report"]

log = logging.getLogger(__name__)

FIGURES = 4
"""Of a page, about."""


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
        (`collections`, `kept-<budget>-bytes`), of models' bytes (`encoders--<collection>`), and of a model's depths
        (`layers--<collection>--<model>`).
        With `per_query`, the Pareto analysis of each page (-pareto.md); and
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
    pictures = Pictures(out)
    pictures.expect(FIGURES * len(found))
    if per_query is not None:
        found = [with_intervals(page, per_query) for page in found]
    looks = style.family_looks(settings.families(frame))
    out.mkdir(parents=True, exist_ok=True)
    of_pages = [_ask_for_figures(page, looks, records, pictures) for page in found]
    without = [page.title for page, own in zip(found, of_pages, strict=True) if own.lacks_spectrum]
    if without:
        log.warning("no figure of the spectrum, which older records do not hold, for %s", ", ".join(without))
    switches = [] if records is None else _switches(found, records)
    of_stores = {
        own.page.stem: pictures.add(f"databases--{own.page.stem}", draw, own) for own in switches if can_draw(own)
    }
    structures = [] if records is None else _structures(found, records)
    of_structures = {
        page.stem: pictures.add(f"indexes--{page.stem}", draw_search_effort, page, points)
        for page, points in structures
    }
    measured = [page for page, own in zip(found, of_pages, strict=True) if own.frontier is not None]
    overall, over_all = _ask_for_figures_over_all(found, measured, looks, pictures)
    wait_for_pictures = pictures.start()
    shares = analyse(found) if per_query is not None else []
    analysed = {own.title: own for own in shares}
    written: list[Path] = []
    for page, own in zip(found, of_pages, strict=True):
        files = list(own.files)
        if len(page.settings):
            table = page.settings.to_csv(index=False, float_format="%.10g")
            files.insert(0, _write(out / f"{page.stem}.csv", table))
        analysis = None
        if page.title in analysed:
            analysis = f"{page.stem}-pareto.md"
            files.append(_write(out / analysis, dominance_markdown(analysed.pop(page.title))))
        text = page_markdown(page, own.frontier, command, own.distortion, own.more, analysis)
        written += [_write(out / f"{page.stem}.md", text), *files]
    stores = [] if records is None else _write_databases(switches, of_stores, records, out, command)
    indexes = _write_indexes(structures, of_structures, out, command)
    written += [*stores, *indexes, *over_all]
    analyses = []
    taken = {page.stem.lower() for page in found}
    for title, pooled in analysed.items():
        stem = settings.file_stem(title, taken)
        written.append(_write(out / f"{stem}-pareto.md", dominance_markdown(pooled)))
        analyses.append((title, f"{stem}-pareto.md"))
    summary = summary_markdown(found, frame, [page.stem for page in measured], command, overall, analyses)
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
    leaderboard: list[Path] = []
    if records is not None and site:
        try:
            leaderboard = write_site(frame, out / "site", pages=found, records=records, command=command)
        except MissingExtraError as error:
            log.warning("no leaderboard: %s", error)
    wait_for_pictures()
    # last of the tables: where it is, they are
    written = [_write(out / "summary.md", summary), *kept, *written, *leaderboard]
    log.info("wrote %d files to %s", len(written), out)
    return written


def _structures(pages: Sequence[Page], records: Records) -> list[tuple[Page, list[Searched]]]:
    """Return the pages on which lists and graphs were run, with what these find at each effort."""
    return [(page, points) for page in pages if (points := searched(page, records))]


def _write_indexes(
    found: Sequence[tuple[Page, list[Searched]]], pictures: Mapping[str, list[Path]], out: Path, command: str
) -> list[Path]:
    """Write what lists and graphs cost and find; the files of pictures are given by the pages' stems."""
    written: list[Path] = []
    for page, points in found:
        stem = f"indexes--{page.stem}"
        text = search_effort.markdown(page, points, f"{stem}.png", command)
        rows = search_effort.frame(points).to_csv(index=False, float_format="%.10g")
        written += [*pictures[page.stem], _write(out / f"{stem}.md", text), _write(out / f"{stem}.csv", rows)]
    return written


@dataclass(frozen=True)
class _Figures:
    """The names of a page's figures: of its frontier, of its errors, and more with their captions; and all files."""

    frontier: str | None
    distortion: str | None
    more: list[tuple[str, str]]
    files: list[Path]
    lacks_spectrum: bool


def _ask_for_figures(page: Page, looks: style.Looks, records: Records | None, pictures: Pictures) -> _Figures:
    """Ask for the figures that a page has data for."""
    frontier = distortion = None
    files: list[Path] = []
    if pareto.can_draw(page):
        files += pictures.add(page.stem, pareto.draw, page, looks)
        frontier = f"{page.stem}.png"
    if can_draw_distortion(page):
        files += pictures.add(f"{page.stem}-distortion", draw_distortion, page, looks)
        distortion = f"{page.stem}-distortion.png"
    more: list[tuple[str, str]] = []
    if overview.can_draw_lost(page):
        files += pictures.add(f"{page.stem}-queries", overview.draw_lost, page)
        more.append(("What queries lose and gain", f"{page.stem}-queries.png"))
    if overview.can_draw_speed(page):
        files += pictures.add(f"{page.stem}-speed", overview.draw_speed, page, looks)
        more.append(("Quality against speed", f"{page.stem}-speed.png"))
    of_axes = None if records is None else spectrum.spectra(page, records)
    if of_axes is not None:
        files += pictures.add(f"{page.stem}-spectrum", spectrum.draw_spectra, of_axes)
        more.append(("Where the power is, and where the bits go", f"{page.stem}-spectrum.png"))
    lacks_spectrum = records is not None and of_axes is None and len(page.settings) > 0
    return _Figures(frontier, distortion, more, files, lacks_spectrum)


def _ask_for_figures_over_all(
    pages: Sequence[Page], measured: Sequence[Page], looks: style.Looks, pictures: Pictures
) -> tuple[list[tuple[str, str]], list[Path]]:
    """Ask for the figures over several pages; return their captions and names, and all files."""
    captions: list[tuple[str, str]] = []
    files: list[Path] = []
    if len(measured) > 1:
        files += pictures.add("collections", overview.draw_side_by_side, measured, looks)
        captions.append(("Collections side by side", "collections.png"))
    for one in representations(pages):
        own = [page for page in pages if len(page.settings) and page.settings["dataset"].iloc[0] == one.collection]
        stem = settings.file_stem(f"representations · {one.collection}", set())
        files += pictures.add(stem, draw_representations, one, own)
        captions.append((f"{one.collection}: what one more byte buys", f"{stem}.png"))
    for encoders_of in encoders(pages):
        if can_draw_encoders(encoders_of):
            stem = settings.file_stem(f"encoders · {encoders_of.collection}", set())
            files += pictures.add(stem, draw_encoders, encoders_of)
            captions.append((f"{encoders_of.collection}: the model's bytes and its vectors'", f"{stem}.png"))
    for grid in layer_grids(pages):
        files += pictures.add(stem_of(grid), draw_layers, grid)
        captions.append((f"{grid.collection}: layers of {grid.model}", f"{stem_of(grid)}.png"))
    for budget in overview.heat_map_budgets(measured):
        files += pictures.add(f"kept-{budget}-bytes", overview.draw_heat_map, measured, budget)
        captions.append((f"Within {budget} bytes", f"kept-{budget}-bytes.png"))
    return captions, files


def _switches(pages: Sequence[Page], records: Records) -> list[Switches]:
    """Return the vector stores' settings of the pages on which their presets were run."""
    return [own for page in pages if (own := store_settings.switches(page, records)) is not None]


def _write_databases(
    found: Sequence[Switches], pictures: Mapping[str, list[Path]], records: Records, out: Path, command: str
) -> list[Path]:
    """Write what vector stores' switches keep; the files of pictures are given by the pages' stems."""
    written: list[Path] = []
    for own in found:
        stem, drawn = f"databases--{own.page.stem}", pictures.get(own.page.stem, [])
        written += drawn
        figure = f"{stem}.png" if drawn else None
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

"""Pages of the documentation that are made when it is built: nothing of them is committed, so nothing can go stale.

The catalogue comes from the yamls under `configs/`, metrics and commands from the tables that have them, the API
from the packages' modules, the notebook's page from `examples/`, the headline from the README, and results from
`results/reference/` as they lie there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli import markdown_commands
from harness.evaluation import metric_registry
from harness.runs import catalogue, presets

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "reference"
NOTEBOOK = ROOT / "examples" / "quick_start.ipynb"
SHOWN = (".md", ".png", ".csv")
"""Kinds of result files that pages link to."""
PACKAGES = ("methods", "vecbudget", "harness")
SEARCH_BOOST = {"results/": 0.1, "api/": 0.3}
LIST_ITEM = re.compile(r"(?:[-*]|\d+\.) ")
RESULTS_LINK = re.compile(r"\]\((?:\.\./)+(results/reference/)")

Row = list[str]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those that were read, and the reference of the API to the navigation."""
    from mkdocs.structure.files import File

    for name, text in generated().items():
        files.append(File.generated(config, name, content=text))
    for path in sorted(RESULTS.rglob("*")):
        if path.suffix in SHOWN and path.parent.name != "tables":
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for entry in config.nav or []:
        if "API" in entry:
            entry["API"] = ["api/index.md", *({title: f"api/{title}.md"} for title in api_pages())]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the headline where a page asks for it, and lead links to results to their place in the site."""
    # who searches wants the guides first
    boost = next((value for folder, value in SEARCH_BOOST.items() if page.file.src_uri.startswith(folder)), 1)
    page.meta.setdefault("search", {"boost": boost})
    for mark, part in {"headline": headline, "metrics": metrics_table, "commands": markdown_commands}.items():
        if f"<!-- {mark} -->" in markdown:
            markdown = markdown.replace(f"<!-- {mark} -->", part())
    up = "../" * page.file.src_uri.count("/")
    markdown = RESULTS_LINK.sub(rf"]({up}\1", markdown)
    # folders are no pages
    markdown = re.sub(r"\[([^\]]+)\]\([^)#?]*/\)", r"`\1`", markdown)
    return with_blank_lines(markdown)


def with_blank_lines(markdown: str) -> str:
    """Return the text with a blank line before each list that follows a paragraph, which this dialect needs."""
    lines: list[str] = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= line.lstrip().startswith("```")
        before = lines[-1] if lines else ""
        follows_text = before.strip() and not before.startswith((" ", "|")) and not LIST_ITEM.match(before)
        if not fenced and LIST_ITEM.match(line) and follows_text:
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"


def generated() -> dict[str, str]:
    """Return the text of each generated page by its path under docs/."""
    pages = {
        "catalogue/methods.md": methods_page(),
        "catalogue/presets.md": presets_page(),
        "catalogue/options.md": options_page(),
        "guides/notebook.md": notebook_page(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }
    for group in ("dataset", "model", "experiment"):
        pages[f"catalogue/{group}s.md"] = group_page(group)
    pages["api/index.md"] = api_index()
    return pages | {f"api/{name}.md": text for name, text in api_pages().items()}


def headline() -> str:
    """Return the README's table, which is made from the reference results."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return readme.partition("<!-- headline: begin -->\n")[2].partition("<!-- headline: end -->")[0]


def metrics_table() -> str:
    """Return the registry of metrics as a table."""
    better = {"more": "higher", "less": "lower", None: ""}
    rows = [
        [entry.label, f"`{entry.name}`", better[entry.better], " and ".join(entry.needs) or "a ranking"]
        for entry in metric_registry.REGISTRY
    ]
    return table(["metric", "column", "better", "needs"], rows)


def table(header: Row, rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def methods_page() -> str:
    """Return the methods' page: a table for each family."""
    families: dict[str, list[Row]] = {}
    for name, family, size, teachers, parameters, summary, source in catalogue.method_rows():
        settings = " ".join(f"`{part}`" for part in parameters.split())
        families.setdefault(family, []).append([f"`{name}`", size, teachers, f"{summary} ({source})", settings])
    header = ["method", "bytes per vector", "learns from", "what it does (source)", "parameters and their defaults"]
    text = (
        "# Methods\n\n"
        "Each is one yaml in `configs/method/`; this page is made from them. *Bytes per vector* is in terms of `d`,\n"
        "the width of the vectors, of `n`, the number of documents, and of the parameters; records hold what was\n"
        "measured.\n"
        "*Learns from* says what `fit` uses; never test queries. Every parameter can be set: `method=pq method.m=24`.\n"
        "Every method also takes `method.renormalize=true` and `method.scoring=symmetric`. Switches of vector stores\n"
        "have [a page of their own](presets.md). In a terminal: `vecbudget list methods`.\n\n"
    )
    return text + "".join(f"## {family.capitalize()}\n\n{table(header, rows)}" for family, rows in families.items())


def presets_page() -> str:
    """Return the page of the vector stores' presets, store by store."""
    text = (
        "# Vector stores' presets\n\n"
        "What a store does when its user flips a switch: the code, the query's own code, what is read again, and the\n"
        "bytes as the store writes them. *Evidence* says what a preset was made from. How to use one:\n"
        "[Vector stores](../guides/vector-stores.md). In a terminal: `vecbudget list databases`.\n"
    )
    stores = dict.fromkeys(preset.store for preset in presets.presets().values())
    for store in stores:
        text += f"\n## {store}\n\n"
        for preset in presets.of_store(store):
            text += f"### `{preset.name}`\n\n{preset.switch}: {preset.summary}.\n\n"
            text += f"Bytes per vector: {preset.size}. Version: {preset.version}. "
            text += f"Evidence: {presets.DOCUMENTED[preset.evidence]} ({preset.source}).\n\n"
            text += f"```\n{preset.setting}\n```\n\n"
    return text


def group_page(group: str) -> str:
    """Return the page of a config group: what each member is, and its yaml with the defaults."""
    text = f"# {group.capitalize()}s\n\nChosen by `{group}=NAME`. Made from the yamls in `configs/{group}/`.\n\n"
    for name, entry in catalogue.members(group).items():
        yaml = entry.read_text(encoding="utf-8")
        body = "\n".join(line for line in yaml.splitlines() if not line.startswith("#"))
        text += f"## `{name}`\n\n{catalogue.first_comment(entry)}\n\n```yaml\n{body}\n```\n\n"
    return text


def options_page() -> str:
    """Return the page of a run's top-level options."""
    return (
        "# Options of a run\n\n"
        "Set on the command line: `vecbudget run method=int8 k=1000`. `vecbudget run --cfg job` prints all of them.\n\n"
        "::: harness.runs.config.RunConfig\n    options:\n      heading_level: 2\n\n"
        "::: harness.runs.config.MeasureConfig\n    options:\n      heading_level: 2\n"
    )


def notebook_page() -> str:
    """Return the example notebook as a page, without its outputs."""
    content: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = (("".join(cell["source"]), cell["cell_type"]) for cell in content["cells"])
    where = f"\nThis page is `{NOTEBOOK.relative_to(ROOT).as_posix()}`; a test runs it.\n"
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for text, kind in cells) + "\n" + where


def modules(package: str) -> Iterator[str]:
    """Return the names of a package's public modules that have a docstring, the package's own first."""
    folder = ROOT.joinpath(*package.split("."))
    for path in sorted(folder.rglob("*.py"), key=lambda path: (path.parent, path.name != "__init__.py", path.name)):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        if path.stat().st_size and not parts[-1].startswith("__main"):
            yield name


def api_pages() -> dict[str, str]:
    """Return the API's reference: a page for each room or family, by its title."""
    pages: dict[str, list[str]] = {}
    for package in PACKAGES:
        for name in modules(package):
            parts = name.split(".")
            # the loader is small, and one page
            pages.setdefault(package if package == "vecbudget" else ".".join(parts[:2]), []).append(name)
    return {
        title: f"# {title}\n\n" + "".join(f"::: {name}\n    options:\n      heading_level: 2\n\n" for name in names)
        for title, names in pages.items()
    }


def api_index() -> str:
    """Return the first page of the reference, with what each room or family holds."""
    rows = []
    for title in api_pages():
        folder = ROOT.joinpath(*title.split("."))
        path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        first = re.match(r'"""(.*?)(?:"""|\n\n|\n?$)', path.read_text(encoding="utf-8"), re.DOTALL)
        rows.append([f"[`{title}`]({title}.md)", " ".join(first[1].split()) if first else ""])
    return (
        "# API\n\n"
        "Read off the docstrings. Who writes a method needs `methods.base`; who loads an exported index, `vecbudget`;\n"
        "who analyses records, `harness.runs` and `harness.analysis`. How the packages hang together:\n"
        "[Architecture](../explain/architecture.md).\n\n" + table(["package", "holds"], rows)
    )

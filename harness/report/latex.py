r"""Tables as LaTeX, for papers: booktabs rules, numbers aligned at the decimal point by siunitx.

The best is bold, the second best underlined. siunitx aligns numbers, and no underlined ones: the rule is drawn by a
command behind the number that takes no room, and so are the marks of significance.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.base.formatting import UNKNOWN

if TYPE_CHECKING:
    from harness.report.table import Cell, Column, Table

LONG = 45
"""Rows that fit on a page; a table of more goes over several."""

PREAMBLE = r"""\usepackage{booktabs}
\usepackage{longtable}
\usepackage{siunitx}
"""
"""What a document needs before \\begin{document}; all of it is in TeX Live's latex-recommended and science."""

COMMANDS = r"""\providecommand{\vbsecond}[1]{\llap{\underline{\phantom{#1}}}}
\providecommand{\vbmark}[1]{\rlap{\textsuperscript{$#1$}}}
"""
"""Set a rule under the number that stands before, and a mark beside it."""

_WIDE = 95
"""Letters of a row, with the gaps between columns, that fit a page in \\footnotesize."""
_NARROW = 9
"""Letters of a heading that stay on one line."""

_SIGNS = {"not worse": r"\dagger", "better": r"\ddagger"}

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": "--",
    "—": "---",
    "·": r"\textperiodcentered{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "●": r"$\bullet$",
    "†": r"\textsuperscript{$\dagger$}",
    "‡": r"\textsuperscript{$\ddagger$}",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
    "…": r"\dots{}",
    "\u00a0": "~",
    "µ": r"$\mu$",
}
_LATIN = "ßæøåœłıÆØÅŒŁ"
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi chi psi omega"


def escape(text: str) -> str:
    r"""Return text so that LaTeX sets it as it stands.

    Letters that a stock pdfLaTeX cannot set become their plain form if they have one (Latin with accents is fine as it
    is), and "?" otherwise.
    """
    parts = []
    # LaTeX joins these signs: two hyphens to a dash, two quotes to a double one, ? and ` to a Spanish sign
    separate = re.sub(r"([-'`?!])(?=[-'`])", "\\1\x00", unicodedata.normalize("NFC", text.replace("\x00", "")))
    for letter in separate:
        if letter == "\x00":
            parts.append("{}")
        elif letter in _ESCAPED:
            parts.append(_ESCAPED[letter])
        elif letter < "\x7f":
            parts.append(letter if letter.isprintable() else " ")
        elif letter in _LATIN or (ord(letter) < 0x180 and unicodedata.decomposition(letter).startswith("00")):
            parts.append(letter)
        else:
            parts.append(_plain(letter))
    return "".join(parts)


def _plain(letter: str) -> str:
    name = unicodedata.name(letter, "").lower().removeprefix("greek small letter ")
    if name in _GREEK.split():
        return rf"$\{name}$"
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return "".join(_ESCAPED.get(part, part) for part in plain if part.isprintable()) or "?"


def table(shown: Table) -> str:
    r"""Return a table as LaTeX, with its title as caption and a label, to be used by \input.

    A table of more than 45 rows is a longtable. The first lines are comments that say what the preamble needs.
    """
    rows = shown.cells
    long = len(rows) > LONG
    texts = [[row[place].text for row in rows] for place in range(len(shown.columns))]
    formats = [_format(column, own) for column, own in zip(shown.columns, texts, strict=True)]
    head = " & ".join(_heading(column) for column in shown.columns) + r" \\"
    lines = []
    for place, row in enumerate(rows):
        if place and shown.reference and shown.reference[place] and not shown.reference[place - 1]:
            lines.append(r"\midrule")
        lines.append(" & ".join(_cell(column, cell) for column, cell in zip(shown.columns, row, strict=True)) + r" \\")
    caption = rf"\caption{{{escape(shown.title)}}}\label{{tab:{_label(shown.stem)}}}"
    notes = escape(" ".join(shown.notes))
    needs = "".join(f"% {line}\n" for line in PREAMBLE.splitlines())
    size = _size(shown.columns, texts)
    setup = (
        COMMANDS
        + f"\\begingroup\n{size}\n\\setlength{{\\tabcolsep}}{{4pt}}\n\\sisetup{{detect-weight=true, mode=text}}\n"
    )
    if long:
        columns = len(shown.columns)
        body = [
            rf"\begin{{longtable}}{{{' '.join(formats)}}}",
            rf"{caption}\\",
            r"\toprule",
            head,
            r"\midrule",
            r"\endfirsthead",
            r"\toprule",
            head,
            r"\midrule",
            r"\endhead",
            rf"\midrule\multicolumn{{{columns}}}{{r}}{{continued on the next page}}\\",
            r"\endfoot",
            r"\bottomrule",
            r"\endlastfoot",
            *lines,
            r"\end{longtable}",
            rf"\noindent {notes}\par" if notes else "",
        ]
    else:
        body = [
            r"\begin{table}[tbp]",
            r"\centering",
            size,
            caption,
            r"\smallskip",
            "",
            rf"\begin{{tabular}}{{{' '.join(formats)}}}",
            r"\toprule",
            head,
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            *([r"\par\smallskip", rf"\parbox{{\linewidth}}{{\footnotesize {notes}}}"] if notes else []),
            r"\end{table}",
        ]
    return needs + setup + "\n".join(body) + "\n\\endgroup\n"


def document(names: Sequence[str]) -> str:
    r"""Return a document that shows tables, given the names of their files."""
    inputs = "".join(f"\\input{{{name}}}\n\\clearpage\n" for name in names)
    return (
        "\\documentclass[a4paper]{article}\n\\usepackage[margin=2cm]{geometry}\n"
        + PREAMBLE
        + "\\begin{document}\n"
        + inputs
        + "\\end{document}\n"
    )


def _size(columns: Sequence[Column], texts: Sequence[Sequence[str]]) -> str:
    letters = sum(
        max([len(text) for text in own] + ([len(column.label)] if column.decimals is None else [4]))
        for column, own in zip(columns, texts, strict=True)
    )
    return r"\footnotesize" if letters + 2 * len(columns) <= _WIDE else r"\scriptsize"


def _format(column: Column, texts: Sequence[str]) -> str:
    if column.decimals is None:
        return "r" if column.is_right else "l"
    digits = max((len(text.partition(".")[0]) for text in texts if text != UNKNOWN), default=1)
    return f"S[table-format={digits}.{column.decimals}]" if column.decimals else f"S[table-format={digits}]"


def _heading(column: Column) -> str:
    label = column.label
    if column.decimals is None:
        return escape(label)
    # the narrowest two lines
    breaks = [place + 1 for place, letter in enumerate(label[:-1]) if letter in " /"]
    if len(label) <= _NARROW or not breaks:
        return f"{{{escape(label)}}}"
    middle = min(breaks, key=lambda place: abs(2 * place - len(label)))
    return rf"{{\shortstack{{{escape(label[:middle].strip())}\\{escape(label[middle:])}}}}}"


def _cell(column: Column, cell: Cell) -> str:
    marks = cell.marks
    signs = [sign for name, sign in _SIGNS.items() if name in marks]
    if column.decimals is None:
        shown = escape(cell.text)
        for mark, command in (("code", "texttt"), ("best", "textbf"), ("second", "underline")):
            shown = rf"\{command}{{{shown}}}" if mark in marks else shown
        return shown + "".join(rf"\vbmark{{{sign}}}" for sign in signs)
    if cell.text == UNKNOWN:
        return "{--}"
    after = rf"\vbsecond{{{cell.text}}}" if "second" in marks else ""
    after += "".join(rf"\vbmark{{{sign}}}" for sign in signs)
    return (r"\bfseries " if "best" in marks else "") + cell.text + (f"{{{after}}}" if after else "")


def _label(stem: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-.") else "-" for letter in stem)

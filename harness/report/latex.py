r"""Views as LaTeX, for papers: booktabs rules, numbers aligned at the decimal point by siunitx.

The best is bold, the second best underlined. siunitx aligns numbers, and no underlined ones: the rule is drawn by a
command behind the number that takes no room, and so are the marks of significance.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.report.view import DASH

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.view import Column, View

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


def table(view: View) -> str:
    r"""Return a view as a LaTeX table with caption and label, to be used by \input.

    A table of more than 45 rows is a longtable. The first lines are comments that say what the preamble needs.
    """
    text = view.text
    long = len(text) > LONG
    formats = [_format(column, text[column.key].tolist()) for column in view.columns]
    head = " & ".join(_heading(column) for column in view.columns) + r" \\"
    lines = []
    for place in range(len(text)):
        if place and view.reference and view.reference[place] and not view.reference[place - 1]:
            lines.append(r"\midrule")
        cells = [
            _cell(
                column, text[column.key].iloc[place], view.marks[column.key][place] if column.key in view.marks else ()
            )
            for column in view.columns
        ]
        lines.append(" & ".join(cells) + r" \\")
    caption = rf"\caption{{{escape(view.title)}}}\label{{tab:{_label(view.stem)}}}"
    notes = escape(" ".join(view.notes))
    needs = "".join(f"% {line}\n" for line in PREAMBLE.splitlines())
    size = _size(view, text)
    setup = (
        COMMANDS
        + f"\\begingroup\n{size}\n\\setlength{{\\tabcolsep}}{{4pt}}\n\\sisetup{{detect-weight=true, mode=text}}\n"
    )
    if long:
        columns = len(view.columns)
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


def _size(view: View, text: pd.DataFrame) -> str:
    letters = sum(
        max([len(shown) for shown in text[column.key]] + ([len(column.label)] if column.decimals is None else [4]))
        for column in view.columns
    )
    return r"\footnotesize" if letters + 2 * len(view.columns) <= _WIDE else r"\scriptsize"


def _format(column: Column, texts: Sequence[str]) -> str:
    if column.decimals is None:
        return "l"
    digits = max((len(text.partition(".")[0]) for text in texts if text != DASH), default=1)
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


def _cell(column: Column, text: str, marks: Sequence[str]) -> str:
    if column.decimals is None:
        return escape(text)
    if text == DASH:
        return "{--}"
    after = rf"\vbsecond{{{text}}}" if "second" in marks else ""
    after += "".join(rf"\vbmark{{{sign}}}" for name, sign in _SIGNS.items() if name in marks)
    return (r"\bfseries " if "best" in marks else "") + text + (f"{{{after}}}" if after else "")


def _label(stem: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-.") else "-" for letter in stem)

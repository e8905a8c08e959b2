import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis import settings as settings_module
from harness.analysis.significance import with_intervals
from harness.report import latex, views
from harness.report.latex import escape
from harness.report.table import Column
from harness.report.view import View
from harness.report.views import collection_view
from tests.harness.analysis.test_significance import records
from tests.harness.report.test_write import frame_of, run

UNTIMED = settings(deadline=None)
HARD = r"""a_b 50% x&y #1 $2 {c} ~d ^e \f <g> |h| "i" `j' k--l ?`m !`n é ł ÿ α 中 × · – †""" + "\u202e\x07"


def view_of(names: list[str], values: list[float], marks: list[tuple[str, ...]], decimals: int = 3) -> View:
    return View(
        stem="t",
        title="a_title 100 %",
        columns=[Column("name", "name_of"), Column("score", "nDCG@10 & more", decimals, ranked=True)],
        rows=pd.DataFrame({"name": names, "score": values}),
        marks={"score": marks},
        notes=["50 % of #1 & a_b."],
    )


def compile_latex(folder: Path, text: str) -> str:
    """Return the text of the compiled document, or skip where there is no LaTeX."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed, so that the LaTeX was not compiled")
    for package in ("siunitx.sty", "booktabs.sty", "longtable.sty"):
        if not subprocess.run(["kpsewhich", package], capture_output=True, check=False).stdout:
            pytest.skip(f"LaTeX's {package} is not installed, so that the LaTeX was not compiled")
    (folder / "all.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Missing" not in done.stdout and "invalid-number" not in done.stdout
    if shutil.which("pdftotext") is None:
        return done.stdout
    return subprocess.run(["pdftotext", "-layout", "all.pdf", "-"], cwd=folder, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("svd_binary", r"svd\_binary"),
        ("100 %", r"100 \%"),
        ("a & b", r"a \& b"),
        ("#1", r"\#1"),
        ("$x$", r"\$x\$"),
        ("{a}", r"\{a\}"),
        (r"C:\x", r"C:\textbackslash{}x"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("a--b", "a-{}-b"),
        ("2-bit, Holm's", "2-bit, Holm's"),
        ("?``", "?{}`{}`"),
        ("scifact · e5 × 2", r"scifact \textperiodcentered{} e5 $\times$ 2"),
        ("Łódź, cafe\u0301", "Łódź, café"),
        ("β-quant", r"$\beta$-quant"),
        ("中文", "??"),
        ("ﬁ", "fi"),
        ("a\nb\x00c", "a bc"),
        ("m=48", "m=48"),
    ],
)
def test_escaping(text: str, expected: str) -> None:
    assert escape(text) == expected


@UNTIMED
@given(st.text(max_size=30))
def test_nothing_special_is_left_unescaped(text: str) -> None:
    rest = re.sub(
        r"\\(textbackslash|text[a-z]+|dots)\{\}|\\textsuperscript\{\$\\d?dagger\$\}|\$\\[a-z]+\$|\\[&%$#_{}]",
        "",
        escape(text),
    )
    rest = re.sub(r"(?<=[-'`?!])\{\}(?=[-'`])", "", rest)
    assert not set(rest.replace("~", " ")) & set('&%$#_{}^\\<>|"\n\t\x00')
    assert all(ord(letter) < 0x180 for letter in rest)


def test_a_table_by_hand() -> None:
    text = latex.table(
        view_of(["a_b", "c", "d", "e"], [0.5, 0.75, float("nan"), 0.7], [(), ("best",), (), ("second", "not worse")])
    )
    assert r"\begin{tabular}{l S[table-format=1.3]}" in text
    assert r"name\_of & {\shortstack{nDCG@10\\\& more}} \\" in text
    assert r"a\_b & 0.500 \\" in text
    assert r"c & \bfseries 0.750 \\" in text
    assert r"d & {--} \\" in text
    assert r"e & 0.700{\vbsecond{0.700}\vbmark{\dagger}} \\" in text
    assert r"\caption{a\_title 100 \%}\label{tab:t}" in text
    assert r"50 \% of \#1 \& a\_b." in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1


def test_the_column_is_as_wide_as_its_longest_number() -> None:
    text = latex.table(view_of(["a", "b"], [1536.04, 9.5], [(), ()], decimals=1))
    assert "S[table-format=4.1]" in text and "1536.0" in text
    assert "S[table-format=4]" in latex.table(view_of(["a", "b"], [1536.04, 9.5], [(), ()], decimals=0))


def test_float32_is_set_apart_by_a_rule() -> None:
    (page,) = settings_module.pages(frame_of(run(run_id="a"), run(run_id="b", method="pq", code_bytes_per_vector=48.0)))
    text = latex.table(collection_view(page))
    assert re.search(r"\npq [^\n]*\n\\midrule\nfloat32 ", text)


def test_a_long_table_goes_over_pages_and_says_so() -> None:
    n = latex.LONG + 1
    text = latex.table(view_of([f"m{i}" for i in range(n)], [0.5] * n, [()] * n))
    assert r"\begin{longtable}" in text and r"\endhead" in text and r"\begin{table}" not in text
    shorter = latex.table(view_of([f"m{i}" for i in range(n - 1)], [0.5] * (n - 1), [()] * (n - 1)))
    assert r"\begin{longtable}" not in shorter


def test_names_that_are_hard_on_latex_compile_and_are_read_as_they_are(tmp_path: Path) -> None:
    view = view_of([HARD, "plain_name"], [0.5, 1.25], [("second", "not worse"), ("best",)])
    (tmp_path / "t.tex").write_text(latex.table(view), encoding="utf-8")
    text = compile_latex(tmp_path, latex.document(["t.tex"]))
    if shutil.which("pdftotext") is not None:
        for part in ("50%", "x&y", "#1", "$2", "?‘m", "!‘n", "plain", "0.500", "1.250"):
            assert part in text.replace(" ", "")


def test_every_view_compiles(tmp_path: Path) -> None:
    frame, per_query = records(("sci_fact", "nf&corpus"))
    pages = [with_intervals(page, per_query) for page in settings_module.pages(frame)]
    found = views.all_views(pages, budgets=(48, 384))
    for view in found:
        views.save(view, tmp_path)
    text = compile_latex(tmp_path, latex.document([f"{view.stem}.tex" for view in found]))
    if shutil.which("pdftotext") is not None:
        for number in found[0].text["ndcg_at_10"]:
            assert number in text


def test_points_and_underlines_are_where_they_belong(tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed, so that the places of the numbers were not measured")
    values = [9.5, 10.25, 100.125, 0.75]
    marks = [("best",), ("second", "not worse"), ("not worse",), ()]
    (tmp_path / "t.tex").write_text(latex.table(view_of(["a", "b", "c", "d"], values, marks, decimals=2)))
    compile_latex(tmp_path, latex.document(["t.tex"]))
    boxes = subprocess.run(
        ["pdftotext", "-bbox", "all.pdf", "-"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = {word: float(left) for left, word in re.findall(r'xMin="([\d.]+)"[^>]*>(\d+\.\d\d)', boxes.stdout)}
    # three plain digits before the point of 100.12, one before that of 0.75: a digit is half an em of 8 pt
    digit = (found["0.75"] - found["100.12"]) / 2
    assert 3.5 < digit < 5
    assert found["10.25"] - found["100.12"] == pytest.approx(digit, abs=0.1)

"""Lucene 9.9, from the jar that pyserini's source distribution holds (LUCENE_JAR); needs a JDK."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np

from scripts.stores.adapters.base import Answer, CannotRunError, Float32, Setting, folder

SERVICES = "META-INF/services/org.apache.lucene."


def lucene_alone(jar: Path, target: Path) -> Path:
    """Copy Lucene's own classes: others in the jar may be too new for the machine's Java."""
    with zipfile.ZipFile(jar) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            if name.startswith("org/apache/lucene/") and name.endswith(".class"):
                copy.writestr(name, source.read(name))
            elif name.startswith(SERVICES):
                lines = source.read(name).splitlines()
                copy.writestr(name, b"\n".join(line for line in lines if line.startswith(b"org.apache.lucene")))
    return target


def answer(docs: Float32, queries: Float32, k: int) -> Answer:
    """Index into one segment, and walk its graph to the end."""
    jar, java = os.environ.get("LUCENE_JAR"), shutil.which("java")
    if not jar:
        raise ImportError("LUCENE_JAR is not set")
    if java is None:
        raise CannotRunError("there is no java")
    with folder() as place:
        classes = lucene_alone(Path(jar), place / "lucene.jar")
        docs.tofile(place / "docs")
        queries.tofile(place / "queries")
        program = Path(__file__).with_name("LuceneSearch.java")
        arguments = [place / "docs", place / "queries", docs.shape[1], k, place / "index"]
        command = [java, "-cp", str(classes), str(program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotRunError(done.stderr.strip().splitlines()[0])
        version, *lines = done.stdout.splitlines()
        (codes,) = (place / "index").glob("*.veq")
        ids = np.array([[int(word) for word in line.split()] for line in lines])
        return Answer(ids, codes.stat().st_size / len(docs), version)


SETTINGS = [
    Setting(
        store="Lucene",
        switch="int8 (9.9)",
        preset="elasticsearch_int8",
        package="pyserini",
        answer=answer,
        options={"+range.chunk": 25_000},  # 9.9 takes the quantiles of its whole sample at once
    )
]

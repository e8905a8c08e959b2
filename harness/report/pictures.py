"""Pictures of a report: drawn side by side in processes, and only where those that are there are of other data.

Beside the pictures lies `.pictures.json`: for each a hash of everything that it was drawn from, and checksums of its
files. Whoever deletes it has all pictures drawn again.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.base.files import file_checksum, hasher, whole
from harness.base.own_code import code_hash
from harness.report.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KNOWN = ".pictures.json"

ENDINGS = (".png", ".svg")

LEAST = 8
"""From so many pictures on processes are worth their start, a second or two each."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure that is to be drawn.

    Attributes
    ----------
    stem : str
        The name of its files without their endings.
    draw : callable
        A function of a module, which returns the figure.
    inputs : tuple
        What it is called with: plain values, arrays, frames, and dataclasses of these.
    """

    stem: str
    draw: Callable[..., Figure]
    inputs: tuple[Any, ...]

    @property
    def names(self) -> list[str]:
        """The names of its files."""
        return [f"{self.stem}{ending}" for ending in ENDINGS]


class Pictures:
    """The pictures of one report, which are drawn while its tables are made.

    Parameters
    ----------
    out : Path
        The report's folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._asked: list[Picture] = []

    def expect(self, count: int) -> None:
        """Start processes now, where about so many pictures will be asked for: in a folder that has none."""
        workers = _workers(count)
        if workers and not (self.out / KNOWN).exists():
            from joblib.externals.loky import get_reusable_executor

            executor = get_reusable_executor(max_workers=workers)
            for _ in range(workers):
                executor.submit(_load)

    def add(self, stem: str, draw: Callable[..., Figure], *inputs: Any) -> list[Path]:
        """Ask for a picture; return the files that it will be."""
        picture = Picture(stem, draw, inputs)
        self._asked.append(picture)
        return [self.out / name for name in picture.names]

    def start(self) -> Callable[[], None]:
        """Begin to draw what was asked for; return what waits for all of it."""
        hashes = dict(zip((picture.stem for picture in self._asked), _hashes(self._asked), strict=True))
        known = _known(self.out)
        due = [picture for picture in self._asked if not self._is_there(picture, hashes[picture.stem], known)]
        finish = _begun(due, self.out)

        def wait() -> None:
            finish()
            if due:
                drawn = {
                    picture.stem: {"inputs": hashes[picture.stem], **_checksums(self.out, picture)} for picture in due
                }
                with whole(self.out / KNOWN) as draft:
                    draft.write_text(json.dumps({**known, **drawn}, indent=1, sort_keys=True) + "\n", encoding="utf-8")

        return wait

    def _is_there(self, picture: Picture, inputs: str, known: Mapping[str, Any]) -> bool:
        """Whether the files are those that were drawn, and from these inputs."""
        entry = known.get(picture.stem)
        if not isinstance(entry, Mapping) or entry.get("inputs") != inputs:
            return False
        try:
            return entry == {"inputs": inputs, **_checksums(self.out, picture)}
        except OSError:
            return False


def _known(out: Path) -> dict[str, Any]:
    """Return what is known of the pictures in a folder; nothing of those whose list cannot be read."""
    try:
        found = json.loads((out / KNOWN).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _checksums(out: Path, picture: Picture) -> dict[str, str]:
    return {name: file_checksum(out / name) for name in picture.names}


def _begun(due: Sequence[Picture], out: Path) -> Callable[[], None]:
    """Begin to draw in processes, where these are worth their start; return what draws the rest and waits for all."""
    workers = _workers(len(due))
    if not workers:

        def one_by_one() -> None:
            for picture in due:
                _draw(picture, out)

        return one_by_one
    from joblib.externals.loky import get_reusable_executor

    # they are sent from another thread, while the caller goes on with the very pages that they hold
    own = copy.deepcopy(list(due))
    executor = get_reusable_executor(max_workers=workers)
    tasks = [executor.submit(_draw, picture, out) for picture in own]

    def finish() -> None:
        try:
            # this process has nothing else to do now: it comes to meet the others from the end
            for picture, task in zip(reversed(own), reversed(tasks), strict=True):
                if task.cancel():
                    _draw(picture, out)
            for task in tasks:
                if not task.cancelled():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()

    return finish


def _workers(pictures: int) -> int:
    """Return how many processes are worth their start beside this one."""
    return 0 if pictures < LEAST else min(pictures, _cores()) - 1


def _load() -> None:
    """Load what draws, by drawing."""
    figure = style.new_figure(1, 1)
    figure.add_subplot().set_title("loaded")
    figure.canvas.draw()


def _draw(picture: Picture, out: Path) -> None:
    style.save(picture.draw(*picture.inputs), out / picture.stem)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hashes(pictures: Sequence[Picture]) -> Iterator[str]:
    """Yield a hash of what each picture is drawn from: its inputs, the code, and what the code draws with."""
    import matplotlib as mpl

    drawn_by = [code_hash(), mpl.__version__, np.__version__]
    seen: dict[int, str] = {}
    for picture in pictures:
        parts = [content_hash(part, seen) for part in picture.inputs]
        content = [*drawn_by, f"{picture.draw.__module__}.{picture.draw.__qualname__}", *parts]
        digest = hasher()
        digest.update(json.dumps(content).encode())
        yield str(digest.hexdigest())


def content_hash(value: Any, seen: dict[int, str] | None = None) -> str:
    """Return the xxh3_128 of a value: equal for equal content of equal types, in any process.

    Parameters
    ----------
    value : plain value, array, DataFrame, or a mapping, sequence or dataclass of these
    seen : dict or None
        Hashes of dataclasses by their address, which must stay alive: several pictures share a page.

    Raises
    ------
    TypeError
        For anything else, whose content is not known.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if seen is not None and id(value) in seen:
            return seen[id(value)]
        parts = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        found = _joined(type(value).__qualname__, *parts, *(content_hash(part, seen) for part in parts.values()))
        if seen is not None:
            seen[id(value)] = found
        return found
    if isinstance(value, Mapping):
        return _joined("mapping", *(content_hash(part, seen) for item in value.items() for part in item))
    if isinstance(value, list | tuple):
        return _joined("sequence", *(content_hash(part, seen) for part in value))
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return _joined("objects", repr(value.shape), *map(repr, value.ravel().tolist()))
        digest = hasher()
        digest.update(f"{value.dtype.str} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
        return str(digest.hexdigest())
    if value is None or isinstance(value, str | bool | int | float | np.generic):
        return _joined(type(value).__name__, repr(value))
    if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "columns"):
        columns = [value.iloc[:, place].to_numpy() for place in range(value.shape[1])]
        return _joined("frame", *map(content_hash, (value.index.to_numpy(), list(map(str, value.columns)), *columns)))
    raise TypeError(f"the content of a {type(value).__name__} is not known")


def _joined(*parts: str) -> str:
    digest = hasher()
    for part in parts:
        octets = part.encode("utf-8", "surrogatepass")
        digest.update(f"{len(octets)} ".encode())
        digest.update(octets)
    return str(digest.hexdigest())

"""Errors whose message is meant for the person at the keyboard: what is wrong, which value, what to do."""


class VecbudgetError(Exception):
    """Base of all errors that the command line prints as one line, without a traceback."""


class DatasetError(VecbudgetError):
    """A dataset that is missing, malformed or inconsistent; names the file and line where there is one."""


class ModelError(VecbudgetError):
    """An embedding model that cannot be loaded, or that returned something other than usable vectors."""


class CacheError(VecbudgetError):
    """A cached embedding file that is corrupt, truncated or belongs to something else."""


class StoreError(VecbudgetError):
    """A run record that cannot be read or written."""


class ConfigError(VecbudgetError):
    """An option that does not exist, has the wrong type, or does not fit the others."""


class MissingExtraError(VecbudgetError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package '{package}': pip install 'vecbudget[{extra}]'")


class RunsFailedError(VecbudgetError):
    """A sweep in which some runs failed; each has said why when it did."""


def was_interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is behind an error: a library that cleans up badly may raise another one in its place."""
    visited: set[int] = set()  # OmegaConf's errors can be their own cause's cause
    while error is not None and id(error) not in visited:
        if isinstance(error, KeyboardInterrupt):
            return True
        visited.add(id(error))
        error = error.__cause__ or error.__context__
    return False

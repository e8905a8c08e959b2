"""What a record calls its collections and its model: labels, which have no part in a run's id and may be changed."""

from __future__ import annotations

from dataclasses import replace

from harness.runs.record import Record
from harness.runs.store import Store

NAMED = ("dataset", "fit_dataset", "model")
"""Parts of a record, and of its configuration, that have a name of their own."""


def relabelled(store: Store, asked: Record) -> str:
    """Give a recorded run the names that it was asked for by; return in words what has another name now, or "".

    Nothing is measured again. The command goes with the names, so that repeating it does not bring the old ones back;
    but a record that several methods share keeps the method that it was measured by, and then its command, too.

    Parameters
    ----------
    store : Store
    asked : Record
        What is known of the run before it: its id is that of a record, and its names are the wanted ones.
    """
    recorded = store.read(asked.run_id)
    new, words = recorded, []
    for part in NAMED:
        old_entry, new_entry = getattr(recorded, part), getattr(asked, part)
        if old_entry is None or new_entry is None or old_entry.name == new_entry.name:
            continue
        new = replace(new, **{part: replace(old_entry, name=new_entry.name)})
        config = {key: value for key, value in asked.config.items() if key == part}
        new = replace(new, config={**new.config, **config})
        words.append(f"{old_entry.name} is called {new_entry.name} now")
    if not words:
        return ""
    if recorded.fit_dataset is not None and asked.fit_dataset is not None:
        old, fresh = (f"fit_dataset={record.fit_dataset.name}" for record in (recorded, asked) if record.fit_dataset)
        params = new.method.params
        if params == old or params.startswith(f"{old} "):
            new = replace(new, method=replace(new.method, params=fresh + params.removeprefix(old)))
    if new.method.setting == asked.method.setting:
        new = replace(new, command=asked.command)
    store.rewrite(new)
    return f" ({', '.join(words)})"

"""A yaml's content as OmegaConf reads it, in a twentieth of the time: libyaml's parser, and plain dictionaries."""

from __future__ import annotations

import functools
import re
from typing import Any

FLOAT = re.compile(
    r"[-+]?\d+(_\d+)*\.[\d_]*([eE][-+]?\d+)?|[-+]?\d+(_\d+)*[eE][-+]?\d+|\.\d+(_\d+)*([eE][-+]\d+)?"
    r"|[-+]?\d+(_\d+)*(:[0-5]?\d)+\.[\d_]*|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    re.ASCII,
)
"""What OmegaConf takes for a floating-point number: 1e-3 too, which is text in YAML 1.1."""


def parsed(text: str) -> Any:
    """Return the content of a yaml, interpolations as they are written."""
    import yaml

    found = yaml.load(text, Loader=_loader())
    # a file of comments only
    return {} if found is None else found


@functools.cache
def _loader() -> Any:
    """Return a safe loader with the rules of OmegaConf for what is a number, and no dates."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML may be built without libyaml
    loader: Any = type("PlainLoader", (base,), {})
    ours = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
    loader.yaml_implicit_resolvers = {
        first: [(tag, rule) for tag, rule in rules if tag not in ours]
        for first, rules in base.yaml_implicit_resolvers.items()
    }
    loader.add_implicit_resolver(ours[0], re.compile(rf"^(?:{FLOAT.pattern})$", re.ASCII), list("-+0123456789."))
    return loader

"""LIMIT from a folder, and synthetic sets of its kind."""

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.base.errors import ConfigError, DatasetError
from harness.data.datasets import LimitStyle


def test_the_usual_set_has_limits_structure() -> None:
    made = LimitStyle().load()
    assert made.name == "pairs-46-of-46-1000-queries" and len(made.doc_ids) == 46 and len(made.query_ids) == 1000
    assert made.qrels is not None
    answers = Counter(doc for judged in made.qrels.values() for doc in judged)
    # the first 1,000 of all 1,035 pairs, as the published small version counts
    assert sorted(Counter(answers.values()).items()) == [(37, 7), (38, 2), (45, 37)]


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 9), st.integers(1, 3), st.integers(0, 5), st.sampled_from(["dense", "random", "cycle"]))
def test_a_text_names_an_item_exactly_where_it_is_relevant(n: int, k: int, more: int, pattern: str) -> None:
    most = n if pattern == "cycle" else math.comb(n, k)
    made = LimitStyle(
        relevant=n, k=k, queries=min(most, 12) if n > k else 1, docs=n + more, items=6, pattern=pattern
    ).load()
    assert made.qrels is not None and made.doc_texts is not None and made.query_texts is not None
    assert len({tuple(sorted(judged)) for judged in made.qrels.values()}) == len(made.query_ids)
    texts = dict(zip(made.doc_ids, made.doc_texts, strict=True))
    for query, text in zip(made.query_ids, made.query_texts, strict=True):
        item = text.removeprefix("Who likes ").removesuffix("?")
        naming = {doc for doc, own in texts.items() if item in own.replace(" and ", ", ").removesuffix(".").split(", ")}
        naming |= {doc for doc, own in texts.items() if f"likes {item}," in own or f"likes {item} and" in own}
        assert naming == set(made.qrels[query]) and len(naming) == k


def test_disjoint_sets_share_no_document() -> None:
    made = LimitStyle(pattern="disjoint", queries=10, items=3).load()
    assert made.qrels is not None and len(made.doc_ids) == 20
    assert not any(set(one) & set(other) for one, other in itertools.combinations(made.qrels.values(), 2))


def test_seeds_make_other_sets_of_the_same_size() -> None:
    first, again, other = (LimitStyle(queries=20, seed=seed).load() for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint and first.name == other.name


def test_what_cannot_be_made_says_so() -> None:
    with pytest.raises(DatasetError, match="3 documents have 3 sets of 2"):
        LimitStyle(relevant=3, queries=4).load()
    with pytest.raises(DatasetError, match="dataset.docs=10, but 46 documents"):
        LimitStyle(docs=10).load()
    with pytest.raises(DatasetError, match="left as filler"):
        LimitStyle(queries=10, items=10_000).load()
    with pytest.raises(ConfigError, match="path or task"):
        LimitStyle(path="x", task="LIMITRetrieval")
    with pytest.raises(ConfigError, match="items run out"):
        LimitStyle(queries=1_000_000)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        LimitStyle(k=0)


def test_the_published_layout_is_read(tmp_path: Path) -> None:
    documents = [{"_id": "Ada Holm", "title": "", "text": "Ada Holm likes tea."}, {"_id": "Bo Lang", "text": "Bo."}]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "query_0", "text": "Who likes tea?"}))
    judged = {"query-id": "query_0", "corpus-id": "Ada Holm", "score": 1}
    (tmp_path / "qrels.jsonl").write_text(json.dumps(judged))
    assert LimitStyle(path=str(tmp_path)).load().qrels == {"query_0": {"Ada Holm": 1}}

"""A collection with queries made from its documents in place of its own, which these documents answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from harness.base.errors import ConfigError, DatasetError
from harness.base.options import Options
from harness.base.sampling import evenly_spaced
from harness.data.datasets import Dataset
from harness.data.training_queries import made_from_documents


@dataclass(kw_only=True, frozen=True)
class PseudoQueries(Options):
    """Take another collection's documents, and ask for them by their own words.

    A text that is also a test query is none of these queries. They stand in their documents word for word, so that a
    method that matches words finds them more easily than it finds real questions.

    Parameters
    ----------
    of : Loader
        Of the collection.
    source : {"titles", "sentences"}
        A sentence is drawn at random from each document, always the same.
    most : int
        Queries, of evenly spaced documents.
    """

    of: Any
    source: Literal["titles", "sentences"] = "titles"
    most: int = 1_000

    def _check(self) -> None:
        if self.most < 1:
            raise ConfigError(f"dataset.most must be at least 1, got {self.most}")

    def load(self) -> Dataset:
        """Load the collection and make the queries; raises `DatasetError` where there is nothing to make them of."""
        tested: Dataset = self.of.load()
        texts = tested.titles if self.source == "titles" else tested.doc_texts
        made = made_from_documents(self.source, tested) if texts else None
        if made is None or not len(made.rows):
            raise DatasetError(f"{tested.name} has no {self.source} to make queries of")
        assert made.texts is not None
        chosen = evenly_spaced(len(made.rows), self.most)
        ids = [f"{tested.doc_ids[made.rows[place]]} {self.source}" for place in chosen]
        answers = {name: {tested.doc_ids[made.rows[place]]: 1} for name, place in zip(ids, chosen, strict=True)}
        return Dataset.build(
            name=f"{tested.name}-{self.source}",
            doc_ids=tested.doc_ids,
            doc_texts=tested.doc_texts,
            titles=tested.titles,
            query_ids=ids,
            query_texts=[made.texts[place] for place in chosen],
            qrels=answers,
            revision=tested.revision,
            task=tested.task,
        )

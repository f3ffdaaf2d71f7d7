"""Networks without probability: they map tensors, and the embedding of a condition, to tensors."""

from creo.nn.embedding import ConditionEmbedding as ConditionEmbedding
from creo.nn.mlp import MLP as MLP

"""Built-in strategies, one file a family."""

from eicompress.contracts import Strategy
from eicompress.hookspecs import hookimpl
from eicompress.strategies.augmentation import Augmentation
from eicompress.strategies.bottleneck import BottleneckLayers
from eicompress.strategies.cross_distillation import CrossDistillation
from eicompress.strategies.distillation import Distillation
from eicompress.strategies.early_exit import EarlyExit
from eicompress.strategies.embedding_codebook import EmbeddingCodebook
from eicompress.strategies.embedding_factorization import EmbeddingFactorization
from eicompress.strategies.fast_parts import SwapActivation, SwapNorm
from eicompress.strategies.ffn_search import FfnChoice, FfnSuperNetwork
from eicompress.strategies.general_distillation import GeneralDistillation
from eicompress.strategies.grouped_ffn import GroupedFfn
from eicompress.strategies.hidden_pruning import HiddenPruning
from eicompress.strategies.kronecker import KroneckerFactorization
from eicompress.strategies.layer_distillation import LayerDistillation
from eicompress.strategies.layer_sharing import LayerSharing
from eicompress.strategies.mixed_attention import MixedAttention
from eicompress.strategies.mixed_precision import MixedPrecision
from eicompress.strategies.ngram_embedding import NgramEmbedding
from eicompress.strategies.pruning import HeadPruning, LayerPruning, NeuronPruning
from eicompress.strategies.quantization import Quantization
from eicompress.strategies.reference import Reference
from eicompress.strategies.sparse_training import SparseTraining
from eicompress.strategies.super_network import Subnetwork, SuperNetwork
from eicompress.strategies.svd import Svd
from eicompress.strategies.thin_student import ThinStudent
from eicompress.strategies.vocabulary_pruning import VocabularyPruning


@hookimpl
def register_strategies() -> list[type[Strategy]]:
    return [
        VocabularyPruning,
        ThinStudent,
        HeadPruning,
        NeuronPruning,
        LayerPruning,
        HiddenPruning,
        BottleneckLayers,
        SwapNorm,
        SwapActivation,
        LayerSharing,
        Svd,
        KroneckerFactorization,
        MixedAttention,
        GroupedFfn,
        EmbeddingFactorization,
        EmbeddingCodebook,
        NgramEmbedding,
        Reference,
        SparseTraining,
        Quantization,
        GeneralDistillation,
        MixedPrecision,
        Augmentation,
        LayerDistillation,
        Distillation,
        CrossDistillation,
        SuperNetwork,
        Subnetwork,
        FfnSuperNetwork,
        FfnChoice,
        EarlyExit,
    ]

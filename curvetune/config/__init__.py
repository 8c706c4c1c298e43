"""One page of knobs: every section of a cell's config, with limits, units and meaning.

A cell is one point of a grid: data, bias, model, probe, allocate, method and seed. `CellConfig`
decides the numbers of a result and nothing else: paths, devices, workers and tracking are not
here, so that `identity` can hash all of it.

Defaults are the release profile: the details of the paper's released code (docs/reproduction.md).
"""

from curvetune.config.base import Section
from curvetune.config.bias import HUMAN, HUMAN_KINDS, BiasConfig, NoiseKind
from curvetune.config.cell import (
    CELL_VERSION,
    METHOD_SECTIONS,
    PROBE_VERSION,
    SPLIT_VERSION,
    AnyMethod,
    CellConfig,
    add_method,
    restored,
)
from curvetune.config.data import DATA_NAMES, META_PER_CLASS, DataConfig
from curvetune.config.foreign import ForeignMethodConfig, read_config
from curvetune.config.method import MetaSetConfig, MethodConfig, NoiseRateConfig
from curvetune.config.methods.features import (
    CleanNetConfig,
    MetaCleanerConfig,
    RoLTDRWConfig,
    SelfLearningConfig,
)
from curvetune.config.methods.hybrid import DistillConfig
from curvetune.config.methods.losses import (
    BootstrappingConfig,
    ClassBalancedConfig,
    CrossEntropyConfig,
    FocalConfig,
    LDAMDRWConfig,
)
from curvetune.config.methods.pretrained import GLCConfig, HARConfig, LCCNConfig, SAdaptationConfig
from curvetune.config.methods.reweighting import (
    CMWNetConfig,
    CurveNetConfig,
    FaMUSConfig,
    L2RWConfig,
    MWNetImbConfig,
    MWNetNoiseConfig,
    WeightNetConfig,
)
from curvetune.config.methods.robust import (
    BalancedSoftmaxConfig,
    ELRConfig,
    GCEConfig,
    LogitAdjustmentConfig,
    SCEConfig,
)
from curvetune.config.methods.selection import (
    CoTeachingConfig,
    MentorNetConfig,
    O2UNetConfig,
    O2UProbeConfig,
)
from curvetune.config.methods.semi_supervised import DivideMixConfig, ELRPlusConfig
from curvetune.config.methods.successors import CRTConfig, DynamicLossConfig, SOPConfig
from curvetune.config.model import ModelConfig
from curvetune.config.training import (
    AllocateConfig,
    HalfConfig,
    ProbeConfig,
    TrainingConfig,
)

__all__ = [
    "CELL_VERSION",
    "DATA_NAMES",
    "HUMAN",
    "HUMAN_KINDS",
    "META_PER_CLASS",
    "METHOD_SECTIONS",
    "PROBE_VERSION",
    "SPLIT_VERSION",
    "AllocateConfig",
    "AnyMethod",
    "BalancedSoftmaxConfig",
    "BiasConfig",
    "BootstrappingConfig",
    "CMWNetConfig",
    "CRTConfig",
    "CellConfig",
    "ClassBalancedConfig",
    "CleanNetConfig",
    "CoTeachingConfig",
    "CrossEntropyConfig",
    "CurveNetConfig",
    "DataConfig",
    "DistillConfig",
    "DivideMixConfig",
    "DynamicLossConfig",
    "ELRConfig",
    "ELRPlusConfig",
    "FaMUSConfig",
    "FocalConfig",
    "ForeignMethodConfig",
    "GCEConfig",
    "GLCConfig",
    "HARConfig",
    "HalfConfig",
    "L2RWConfig",
    "LCCNConfig",
    "LDAMDRWConfig",
    "LogitAdjustmentConfig",
    "MWNetImbConfig",
    "MWNetNoiseConfig",
    "MentorNetConfig",
    "MetaCleanerConfig",
    "MetaSetConfig",
    "MethodConfig",
    "ModelConfig",
    "NoiseKind",
    "NoiseRateConfig",
    "O2UNetConfig",
    "O2UProbeConfig",
    "ProbeConfig",
    "RoLTDRWConfig",
    "SAdaptationConfig",
    "SCEConfig",
    "SOPConfig",
    "Section",
    "SelfLearningConfig",
    "TrainingConfig",
    "WeightNetConfig",
    "add_method",
    "read_config",
    "restored",
]

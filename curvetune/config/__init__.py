"""One page of knobs: every section of a cell's config, with limits, units and meaning.

A cell is one point of a grid: data, bias, model, probe, allocate, method and seed. `CellConfig`
decides the numbers of a result and nothing else: paths, devices, workers and tracking are not
here, so that `identity` can hash all of it.

Defaults are the release profile: the details of the paper's released code (docs/reproduction.md).
"""

from curvetune.config.base import Section
from curvetune.config.bias import BiasConfig, NoiseKind
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
from curvetune.config.data import META_PER_CLASS, DataConfig, DataName
from curvetune.config.features import (
    CleanNetConfig,
    MetaCleanerConfig,
    RoLTDRWConfig,
    SelfLearningConfig,
)
from curvetune.config.hybrid import DistillConfig
from curvetune.config.losses import (
    BootstrappingConfig,
    ClassBalancedConfig,
    CrossEntropyConfig,
    FocalConfig,
    LDAMDRWConfig,
)
from curvetune.config.method import MetaSetConfig, MethodConfig, NoiseRateConfig
from curvetune.config.model import ModelConfig
from curvetune.config.pretrained import GLCConfig, HARConfig, LCCNConfig, SAdaptationConfig
from curvetune.config.reweighting import (
    CMWNetConfig,
    CurveNetConfig,
    FaMUSConfig,
    L2RWConfig,
    MWNetImbConfig,
    MWNetNoiseConfig,
    WeightNetConfig,
)
from curvetune.config.selection import (
    CoTeachingConfig,
    MentorNetConfig,
    O2UNetConfig,
    O2UProbeConfig,
)
from curvetune.config.training import (
    AllocateConfig,
    HalfConfig,
    ProbeConfig,
    TrainingConfig,
)

__all__ = [
    "CELL_VERSION",
    "META_PER_CLASS",
    "METHOD_SECTIONS",
    "PROBE_VERSION",
    "SPLIT_VERSION",
    "AllocateConfig",
    "AnyMethod",
    "BiasConfig",
    "BootstrappingConfig",
    "CMWNetConfig",
    "CellConfig",
    "ClassBalancedConfig",
    "CleanNetConfig",
    "CoTeachingConfig",
    "CrossEntropyConfig",
    "CurveNetConfig",
    "DataConfig",
    "DataName",
    "DistillConfig",
    "FaMUSConfig",
    "FocalConfig",
    "GLCConfig",
    "HARConfig",
    "HalfConfig",
    "L2RWConfig",
    "LCCNConfig",
    "LDAMDRWConfig",
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
    "Section",
    "SelfLearningConfig",
    "TrainingConfig",
    "WeightNetConfig",
    "add_method",
    "restored",
]

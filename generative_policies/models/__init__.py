"""Flow models, velocity networks, priors, encoders, solvers and sample metrics. Needs torch alone."""

from generative_policies.models.encoders import Encoder, IdentityEncoder, IdentityTwoInputEncoder
from generative_policies.models.flow import ConditionalFlowModel
from generative_policies.models.mlp import Mlp
from generative_policies.models.normalizer import Normalizer
from generative_policies.models.priors import GaussianPrior, Prior, SourcePrior
from generative_policies.models.residual_mlp import ResidualMlp
from generative_policies.models.sample_metrics import (
    RealVersusReal,
    energy_distance,
    mode_masses,
    modes_covered,
    real_versus_real,
    sliced_wasserstein,
)
from generative_policies.models.solvers import SOLVERS, integrate
from generative_policies.models.unet import ConditionalUNet1D
from generative_policies.models.velocity import VelocityNetwork

__all__ = [
    "SOLVERS",
    "ConditionalFlowModel",
    "ConditionalUNet1D",
    "Encoder",
    "GaussianPrior",
    "IdentityEncoder",
    "IdentityTwoInputEncoder",
    "Mlp",
    "Normalizer",
    "Prior",
    "RealVersusReal",
    "ResidualMlp",
    "SourcePrior",
    "VelocityNetwork",
    "energy_distance",
    "integrate",
    "mode_masses",
    "modes_covered",
    "real_versus_real",
    "sliced_wasserstein",
]

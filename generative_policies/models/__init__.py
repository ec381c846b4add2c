"""Flow models, velocity networks, priors, encoders, solvers and sample metrics. Needs torch alone."""

from generative_policies.models.average_velocity import AverageVelocityModel
from generative_policies.models.bridge import LatentBridgeModel
from generative_policies.models.coupling import conditional_optimal_transport
from generative_policies.models.dict_encoder import DictObservationEncoder
from generative_policies.models.distilled_flow import DistilledFlowModel
from generative_policies.models.encoders import (
    Encoder,
    IdentityEncoder,
    IdentityTwoInputEncoder,
    ObservationAndVectorEncoder,
)
from generative_policies.models.flow import ConditionalFlowModel, FlowInputs, PathLength
from generative_policies.models.generative_model import GenerativeModel
from generative_policies.models.mlp import Mlp
from generative_policies.models.normalizer import Normalizer
from generative_policies.models.priors import GaussianPrior, LiftedSourcePrior, Prior, SourcePrior
from generative_policies.models.regression import MlpRegressor
from generative_policies.models.residual_mlp import ResidualMlp
from generative_policies.models.sample_metrics import (
    RealVersusReal,
    energy_distance,
    mode_masses,
    modes_covered,
    real_versus_real,
    sliced_wasserstein,
)
from generative_policies.models.solvers import SOLVERS, integrate, trajectory
from generative_policies.models.transformer import DiffusionTransformer
from generative_policies.models.unet import ConditionalUNet1D
from generative_policies.models.velocity import VelocityNetwork

__all__ = [
    "SOLVERS",
    "AverageVelocityModel",
    "ConditionalFlowModel",
    "ConditionalUNet1D",
    "DictObservationEncoder",
    "DiffusionTransformer",
    "DistilledFlowModel",
    "Encoder",
    "FlowInputs",
    "GaussianPrior",
    "GenerativeModel",
    "IdentityEncoder",
    "IdentityTwoInputEncoder",
    "LatentBridgeModel",
    "LiftedSourcePrior",
    "Mlp",
    "MlpRegressor",
    "Normalizer",
    "ObservationAndVectorEncoder",
    "PathLength",
    "Prior",
    "RealVersusReal",
    "ResidualMlp",
    "SourcePrior",
    "VelocityNetwork",
    "conditional_optimal_transport",
    "energy_distance",
    "integrate",
    "mode_masses",
    "modes_covered",
    "real_versus_real",
    "sliced_wasserstein",
    "trajectory",
]

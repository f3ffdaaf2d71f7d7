"""Normalizing flows: invertible layers, data towards noise, whose log-determinants give an exact density."""

from creo.flows.coupling import Additive as Additive
from creo.flows.coupling import Affine as Affine
from creo.flows.coupling import Coupling as Coupling
from creo.flows.coupling import alternating_mask as alternating_mask
from creo.flows.dequantise import UniformDequantise as UniformDequantise
from creo.flows.gaussianise import Gaussianise as Gaussianise
from creo.flows.layer import Compose as Compose
from creo.flows.layer import Layer as Layer
from creo.flows.permutation import Permutation as Permutation
from creo.flows.realnvp import RealNVP as RealNVP
from creo.flows.standardise import ActNorm as ActNorm
from creo.flows.standardise import Standardise as Standardise

"""Classical density models: the baselines that anything learned by gradient has to beat."""

from creo.classical.gaussian import Gaussian as Gaussian
from creo.classical.independent import Independent as Independent
from creo.classical.mixture import Mixture as Mixture

"""Probability without networks: densities, heads and samplers that models are built from."""

from creo.distributions.gaussian import diagonal_log_prob as diagonal_log_prob
from creo.distributions.gaussian import full_log_prob as full_log_prob
from creo.distributions.gaussian import full_sample as full_sample
from creo.distributions.gaussian import standard_log_prob as standard_log_prob
from creo.distributions.heads import Adjacent as Adjacent
from creo.distributions.heads import Bernoulli as Bernoulli
from creo.distributions.heads import Categorical as Categorical
from creo.distributions.heads import DiscretisedLogistic as DiscretisedLogistic
from creo.distributions.heads import Gaussian as Gaussian
from creo.distributions.heads import Head as Head
from creo.distributions.heads import head_for as head_for

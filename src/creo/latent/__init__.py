"""Latent-variable models: p(x) = int p(x | z) p(z) dz with an amortised posterior q(z | x)."""

from creo.latent.autoencoder import Autoencoder as Autoencoder
from creo.latent.bounds import importance_weighted_bound as importance_weighted_bound
from creo.latent.bounds import iwae_in_chunks as iwae_in_chunks
from creo.latent.bounds import kl_to_standard_normal as kl_to_standard_normal
from creo.latent.gmvae import GMVAE as GMVAE
from creo.latent.iwae import IWAE as IWAE
from creo.latent.ppca import PPCA as PPCA
from creo.latent.ssvae import SSVAE as SSVAE
from creo.latent.vae import VAE as VAE

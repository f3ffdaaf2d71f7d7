"""Latent-variable models: p(x) = int p(x | z) p(z) dz with an amortised posterior q(z | x)."""

from creo.latent.autoencoder import Autoencoder as Autoencoder
from creo.latent.bounds import importance_weighted_bound as importance_weighted_bound
from creo.latent.bounds import iwae_in_chunks as iwae_in_chunks
from creo.latent.bounds import kl_to_standard_normal as kl_to_standard_normal
from creo.latent.dvae import DVAE as DVAE
from creo.latent.fsq import FSQ as FSQ
from creo.latent.gmvae import GMVAE as GMVAE
from creo.latent.iwae import IWAE as IWAE
from creo.latent.ladder_vae import LadderVAE as LadderVAE
from creo.latent.pixelvae import PixelVAE as PixelVAE
from creo.latent.ppca import PPCA as PPCA
from creo.latent.quantise import EMACodebook as EMACodebook
from creo.latent.quantise import GradientCodebook as GradientCodebook
from creo.latent.quantise import Residual as Residual
from creo.latent.ssvae import SSVAE as SSVAE
from creo.latent.vae import VAE as VAE
from creo.latent.vdvae import VDVAE as VDVAE
from creo.latent.vqvae import VQVAE as VQVAE
from creo.latent.vqvae2 import VQVAE2 as VQVAE2

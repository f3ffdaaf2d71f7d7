"""Adversarial models: a generator learns to pass for the data before a discriminator that learns to tell."""

from creo.adversarial.gan import GAN as GAN

"""Diffusion, score and flow matching as one family."""

"""
What a flow believes about two moons
====================================

Train an affine coupling flow for a few seconds, draw from it, and look at its density: ``log_prob`` is exact, so the
picture on the right is the model, not an estimate of it.
"""

import matplotlib.pyplot as plt
import torch

import creo

data = creo.load_data("moons")
model = creo.build("realnvp", data.space)
run = creo.fit(model, data, steps=600, progress=False)
print(run)

# %%
# Samples and density on a grid.
grid = torch.linspace(-3, 3, 150)
points = torch.cartesian_prod(grid, grid)
with torch.no_grad():
    density = model.log_prob(points).exp().reshape(150, 150)
    samples = model.sample(2000)

fig, axes = plt.subplots(1, 3, figsize=(11, 3.6))
axes[0].scatter(*data.test[:2000].T, s=2)
axes[0].set_title("data")
axes[1].scatter(*samples.T, s=2)
axes[1].set_title("samples")
axes[2].imshow(density.T, extent=(-3, 3, -3, 3), origin="lower")
axes[2].set_title("density")
for ax in axes:
    ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
fig.tight_layout()

"""Every model, one line each: name, where its class is, what it promises, what it answers, its paper.

Strings only: listing the models imports no torch. `build` imports the class a name points at and asks it for a
model of a space. `promise` maps each kind of space the model can model to the kind of likelihood it then has.
A package outside creo adds models through the entry point group `creo.models` (each entry point a `Model`) or by
calling `register`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from creo.errors import OptionError, SpaceError, UnknownName, suggestion
from creo.spaces import Space

if TYPE_CHECKING:
    from creo.model import GenerativeModel


@dataclass(frozen=True)
class Model:
    """A registered model.

    Args:
        name: what `creo.build` and the command line call it.
        path: `module:Class`.
        promise: kind of space -> "exact", "bound", "estimate" or "none".
        answers: questions beyond sample and log_prob (names of `creo.model.PROTOCOLS`).
        paper: "Authors (year)" of the defining paper.
        url: where to read it.
        summary: one line: what it is.
        hint: what to do instead on a space that it does not model, where there is something to say.
    """

    name: str
    path: str
    promise: Mapping[str, str]
    answers: tuple[str, ...]
    paper: str
    url: str
    summary: str
    hint: str = ""

    @property
    def family(self) -> str:
        """The package the model lives in: autoregressive, flows, latent, ... (a module of its own elsewhere)."""
        return self.path.partition(":")[0].removeprefix("creo.").partition(".")[0]

    def load(self) -> type[GenerativeModel]:
        """Import the class."""
        module, _, cls = self.path.partition(":")
        return getattr(importlib.import_module(module), cls)


# fmt: off
_MODELS: dict[str, Model] = {m.name: m for m in (
    Model("independent", "creo.classical.independent:Independent", {"Ordinal": "exact", "Tokens": "exact", "Categories": "exact"}, ("complete",), "Laplace (1814)", "https://en.wikipedia.org/wiki/Rule_of_succession", "a histogram per variable, all variables independent"),
    Model("gaussian", "creo.classical.gaussian:Gaussian", {"Continuous": "exact", "Ordinal": "bound"}, ("complete",), "Gauss (1809)", "https://en.wikipedia.org/wiki/Multivariate_normal_distribution", "full-covariance Gaussian in closed form"),
    Model("mixture", "creo.classical.mixture:Mixture", {"Continuous": "exact", "Ordinal": "exact"}, ("complete",), "Dempster, Laird, Rubin (1977)", "https://doi.org/10.1111/j.2517-6161.1977.tb01600.x", "mixture of Gaussians or of products of categoricals, by EM"),
    Model("fvsbn", "creo.autoregressive.nade:FVSBN", {"Ordinal": "exact", "Tokens": "exact"}, ("complete", "step"), "Frey, Hinton, Dayan (1996)", "https://www.cs.toronto.edu/~hinton/absps/wsperf.htm", "each variable a logistic regression on those before it"),
    Model("nade", "creo.autoregressive.nade:NADE", {"Ordinal": "exact", "Tokens": "exact"}, ("complete", "step"), "Larochelle, Murray (2011)", "https://proceedings.mlr.press/v15/larochelle11a.html", "one hidden layer shared by all conditionals"),
    Model("made", "creo.autoregressive.made:MADE", {"Ordinal": "exact", "Tokens": "exact"}, ("complete", "step"), "Germain, Gregor, Murray, Larochelle (2015)", "https://arxiv.org/abs/1502.03509", "masked autoencoder: all conditionals in one pass"),
    Model("made-mixed", "creo.autoregressive.mixed_made:MixedMADE", {"Continuous": "exact", "Table": "exact", "Ordinal": "exact"}, ("complete",), "Uria, Murray, Larochelle (2013); Germain et al. (2015)", "https://arxiv.org/abs/1306.0186", "masked autoencoder of real and mixed variables, mixture of orders"),
    Model("pixelcnn", "creo.autoregressive.pixelcnn:PixelCNN", {"Ordinal": "exact"}, ("complete", "step"), "van den Oord, Kalchbrenner, Kavukcuoglu (2016)", "https://arxiv.org/abs/1601.06759", "masked convolutions over pixels, with their blind spot"),
    Model("gated-pixelcnn", "creo.autoregressive.gated_pixelcnn:GatedPixelCNN", {"Ordinal": "exact"}, ("complete", "step"), "van den Oord et al. (2016)", "https://arxiv.org/abs/1606.05328", "two stacks of gated causal convolutions over pixels"),
    Model("pixelcnn++", "creo.autoregressive.pixelcnn_pp:PixelCNNpp", {"Ordinal": "exact"}, ("complete", "step"), "Salimans, Karpathy, Chen, Kingma (2017)", "https://arxiv.org/abs/1701.05517", "gated convolutions with shortcuts, coupled mixture of logistics"),
    Model("image-transformer", "creo.autoregressive.image_transformer:ImageTransformer", {"Ordinal": "exact"}, ("complete", "step"), "Parmar et al. (2018)", "https://arxiv.org/abs/1802.05751", "decoder-only transformer over pixels, keys and values kept"),
    Model("linear-flow", "creo.flows.linear_flow:LinearFlow", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Dinh, Krueger, Bengio (2015)", "https://arxiv.org/abs/1410.8516", "one matrix: the full-covariance Gaussian as a flow"),
    Model("planar", "creo.flows.planar_flow:PlanarFlow", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Rezende, Mohamed (2015)", "https://arxiv.org/abs/1505.05770", "bumps along planes"),
    Model("radial", "creo.flows.planar_flow:RadialFlow", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Rezende, Mohamed (2015)", "https://arxiv.org/abs/1505.05770", "bumps around points"),
    Model("sylvester", "creo.flows.planar_flow:SylvesterFlow", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "van den Berg, Hasenclever, Tomczak, Welling (2018)", "https://arxiv.org/abs/1803.05649", "many planar bumps at once, along orthonormal directions"),
    Model("nice", "creo.flows.nice:NICE", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Dinh, Krueger, Bengio (2015)", "https://arxiv.org/abs/1410.8516", "additive coupling flow"),
    Model("realnvp", "creo.flows.realnvp:RealNVP", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Dinh, Sohl-Dickstein, Bengio (2017)", "https://arxiv.org/abs/1605.08803", "affine coupling flow"),
    Model("nsf", "creo.flows.nsf:NSF", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Durkan, Bekasov, Murray, Papamakarios (2019)", "https://arxiv.org/abs/1906.04032", "rational-quadratic spline coupling flow"),
    Model("glow", "creo.flows.glow:Glow", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Kingma, Dhariwal (2018)", "https://arxiv.org/abs/1807.03039", "multi-scale image flow with invertible 1x1 convolutions"),
    Model("maf", "creo.flows.maf:MAF", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Papamakarios, Pavlakou, Murray (2017)", "https://arxiv.org/abs/1705.07057", "masked autoregressive flow: fast density, exact incremental sampling"),
    Model("iaf", "creo.flows.maf:IAF", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Kingma et al. (2016)", "https://arxiv.org/abs/1606.04934", "inverse autoregressive flow: sampling in one pass"),
    Model("nsf-ar", "creo.flows.maf:AutoregressiveNSF", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Durkan, Bekasov, Murray, Papamakarios (2019)", "https://arxiv.org/abs/1906.04032", "autoregressive rational-quadratic spline flow"),
    Model("naf", "creo.flows.naf:NAF", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Huang, Krueger, Lacoste, Courville (2018)", "https://arxiv.org/abs/1804.00779", "autoregressive flow of small monotone networks"),
    Model("residual-flow", "creo.flows.residual_flow:ResidualFlow", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Chen, Behrmann, Duvenaud, Jacobsen (2019)", "https://arxiv.org/abs/1906.02735", "invertible residual networks: identity plus contraction"),
    Model("tarflow", "creo.flows.tarflow:TarFlow", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Zhai et al. (2024)", "https://arxiv.org/abs/2412.06329", "transformer autoregressive flow over the patches of images"),
    Model("cnf", "creo.flows.cnf:CNF", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Chen, Rubanova, Bettencourt, Duvenaud (2018)", "https://arxiv.org/abs/1806.07366", "continuous flow along an ordinary differential equation"),
    Model("ffjord", "creo.flows.cnf:FFJORD", {"Continuous": "exact", "Ordinal": "bound"}, ("inverse",), "Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud (2019)", "https://arxiv.org/abs/1810.01367", "continuous flow trained with Hutchinson's estimate of the trace"),
    Model("ppca", "creo.latent.ppca:PPCA", {"Continuous": "exact"}, ("encode", "decode"), "Tipping, Bishop (1999)", "https://doi.org/10.1111/1467-9868.00196", "linear-Gaussian latent model in closed form or by EM; factor analysis"),
    Model("autoencoder", "creo.latent.autoencoder:Autoencoder", {"Continuous": "none", "Ordinal": "none"}, ("encode", "decode"), "Hinton, Salakhutdinov (2006)", "https://doi.org/10.1126/science.1127647", "a code to restore from: plain, linear, denoising, sparse"),
    Model("vae", "creo.latent.vae:VAE", {"Continuous": "bound", "Ordinal": "bound"}, ("encode", "decode"), "Kingma, Welling (2014); Rezende, Mohamed, Wierstra (2014)", "https://arxiv.org/abs/1312.6114", "Gaussian latent, amortised posterior, evidence lower bound"),
    Model("iwae", "creo.latent.iwae:IWAE", {"Continuous": "bound", "Ordinal": "bound"}, ("encode", "decode"), "Burda, Grosse, Salakhutdinov (2016)", "https://arxiv.org/abs/1509.00519", "the paper's VAE, trained on the importance-weighted bound"),
    Model("gmvae", "creo.latent.gmvae:GMVAE", {"Continuous": "bound", "Ordinal": "bound"}, ("encode", "decode"), "Dilokthanakul et al. (2016)", "https://arxiv.org/abs/1611.02648", "VAE with a mixture of Gaussians as prior and a class to infer"),
    Model("ssvae", "creo.latent.ssvae:SSVAE", {"Continuous": "bound", "Ordinal": "bound"}, ("encode", "decode"), "Kingma, Rezende, Mohamed, Welling (2014)", "https://arxiv.org/abs/1406.5298", "semi-supervised VAE: labels of a share of the data"),
    Model("vqvae", "creo.latent.vqvae:VQVAE", {"Continuous": "bound", "Ordinal": "bound"}, ("encode", "decode"), "van den Oord, Vinyals, Kavukcuoglu (2017)", "https://arxiv.org/abs/1711.00937", "autoencoder through a grid of learned symbols"),
    Model("vqvae2", "creo.latent.vqvae2:VQVAE2", {"Continuous": "bound", "Ordinal": "bound"}, ("encode", "decode"), "Razavi, van den Oord, Vinyals (2019)", "https://arxiv.org/abs/1906.00446", "two grids of learned symbols, coarse and fine"),
    Model("dvae", "creo.latent.dvae:DVAE", {"Continuous": "bound", "Ordinal": "bound"}, ("encode", "decode"), "Jang, Gu, Poole (2017); Ramesh et al. (2021)", "https://arxiv.org/abs/1611.01144", "a grid of categorical latents, trained by Gumbel-softmax"),
    Model("ladder-vae", "creo.latent.ladder_vae:LadderVAE", {"Continuous": "bound", "Ordinal": "bound"}, ("encode", "decode"), "Sonderby et al. (2016)", "https://arxiv.org/abs/1602.02282", "several latent layers, posterior and prior joined by precision"),
    Model("vdvae", "creo.latent.vdvae:VDVAE", {"Continuous": "bound", "Ordinal": "bound"}, ("encode", "decode"), "Child (2021)", "https://arxiv.org/abs/2011.10650", "many layers of latent maps from one vector up to the picture"),
    Model("pixelvae", "creo.latent.pixelvae:PixelVAE", {"Ordinal": "bound"}, ("encode", "decode"), "Gulrajani et al. (2017)", "https://arxiv.org/abs/1611.05013", "latent vector and gated causal convolutions over the pixels"),
    Model("gan", "creo.adversarial.gan:GAN", {"Continuous": "none", "Ordinal": "none"}, ("decode",), "Goodfellow et al. (2014)", "https://arxiv.org/abs/1406.2661", "non-saturating generator against discriminator"),
    Model("ddpm", "creo.diffusion.recipes:DDPM", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Ho, Jain, Abbeel (2020)", "https://arxiv.org/abs/2006.11239", "noise predicted at a thousand steps, undone one by one"),
    Model("improved-ddpm", "creo.diffusion.learned_variance:ImprovedDDPM", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Nichol, Dhariwal (2021)", "https://arxiv.org/abs/2102.09672", "cosine schedule, variances of the steps back learned too"),
    Model("ncsn", "creo.diffusion.recipes:NCSN", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Song, Ermon (2019)", "https://arxiv.org/abs/1907.05600", "scores at many noise levels, annealed Langevin"),
    Model("vp-sde", "creo.diffusion.recipes:VPSDE", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Song et al. (2021)", "https://arxiv.org/abs/2011.13456", "score model of the variance-preserving SDE"),
    Model("ve-sde", "creo.diffusion.recipes:VESDE", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Song et al. (2021)", "https://arxiv.org/abs/2011.13456", "score model of the variance-exploding SDE"),
    Model("sub-vp-sde", "creo.diffusion.recipes:SubVPSDE", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Song et al. (2021)", "https://arxiv.org/abs/2011.13456", "score model of the sub-VP SDE"),
    Model("edm", "creo.diffusion.recipes:EDM", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Karras, Aittala, Aila, Laine (2022)", "https://arxiv.org/abs/2206.00364", "preconditioned denoiser over noise levels"),
    Model("vdm", "creo.diffusion.vdm:VDM", {"Continuous": "bound", "Ordinal": "bound"}, ("encode", "decode", "score", "denoise"), "Kingma, Salimans, Poole, Ho (2021)", "https://arxiv.org/abs/2107.00630", "noise levels learned too, trained on its lower bound"),
    Model("flow-matching", "creo.diffusion.recipes:FlowMatching", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Lipman, Chen, Ben-Hamu, Nickel, Le (2023)", "https://arxiv.org/abs/2210.02747", "velocity of straight paths from data to noise"),
    Model("ot-flow-matching", "creo.diffusion.recipes:OTFlowMatching", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Tong et al. (2024)", "https://arxiv.org/abs/2302.00482", "flow matching, noise paired by optimal transport"),
    Model("rectified-flow", "creo.diffusion.recipes:RectifiedFlow", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Liu, Gong, Liu (2023)", "https://arxiv.org/abs/2209.03003", "straight paths, most training at middle times, Euler"),
    Model("stochastic-interpolant", "creo.diffusion.bridge:StochasticInterpolant", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Albergo, Boffi, Vanden-Eijnden (2023)", "https://arxiv.org/abs/2303.08797", "flow or diffusion between any two distributions"),
    Model("sb-flow-matching", "creo.diffusion.bridge:SBFlowMatching", {"Continuous": "estimate", "Ordinal": "estimate"}, ("encode", "decode", "score", "denoise"), "Tong et al. (2024)", "https://arxiv.org/abs/2302.00482", "Brownian bridges to noise paired by entropic transport"),
    Model("latent-diffusion", "creo.diffusion.latent:LatentDiffusion", {"Continuous": "estimate"}, ("encode", "decode", "score", "denoise"), "Rombach et al. (2022)", "https://arxiv.org/abs/2112.10752", "diffusion of another model's latents: creo train latent-diffusion --on RUN", "it models latents: train a first stage such as vae or autoencoder, then this one with --on its run"),
    Model("consistency", "creo.diffusion.consistency:Consistency", {"Continuous": "none", "Ordinal": "none"}, (), "Song, Dhariwal, Chen, Sutskever (2023)", "https://arxiv.org/abs/2303.01469", "noise to data in one or two network calls"),
    Model("masked-diffusion", "creo.diffusion.masked:MaskedDiffusion", {"Ordinal": "bound", "Tokens": "bound"}, ("complete",), "Austin et al. (2021); Sahoo et al. (2024)", "https://arxiv.org/abs/2406.07524", "symbols masked one by one, guessed in any order"),
)}
# fmt: on


def register(model: Model) -> None:
    """Add a model of one's own under a new name, for this process."""
    if model.name in _MODELS:
        raise OptionError(f"a model named {model.name!r} exists already")
    _MODELS[model.name] = model


def models() -> dict[str, Model]:
    """All registered models by name, in the order of the families."""
    return dict(_MODELS) | _installed()


def _installed() -> dict[str, Model]:
    from importlib.metadata import entry_points

    return {e.name: e.load() for e in entry_points(group="creo.models")}


def find(name: str) -> Model:
    """The registered model of that name.

    Raises:
        UnknownName: with the nearest names.
    """
    if name in _MODELS:
        return _MODELS[name]
    known = models()
    if name not in known:
        raise UnknownName(f"no model named {name!r}{suggestion(name, known)}")
    return known[name]


def options_of(cls: type[GenerativeModel]) -> dict[str, inspect.Parameter]:
    """The keyword options a model's `for_space` takes beyond space and condition."""
    parameters = inspect.signature(cls.for_space).parameters
    return {k: p for k, p in parameters.items() if k not in ("space", "condition")}


def build(name: str, space: Space, condition: Space | None = None, **options: Any) -> GenerativeModel:
    """Build a registered model for a space.

    Args:
        name: see `creo models` or `creo.models()`.
        space: what one sample is.
        condition: what it is conditioned on, or None.
        **options: the options of the class's `for_space`.

    Raises:
        UnknownName: no such model. SpaceError: it cannot model this space. OptionError: no such option.
    """
    entry = find(name)
    if not isinstance(space, Space):
        raise SpaceError(
            f"build a model for a space, e.g. creo.build({name!r}, data.space); received {type(space).__name__}"
        )
    if space.kind not in entry.promise:
        able = [m.name for m in models().values() if space.kind in m.promise]
        hint = entry.hint or f"models that can: {', '.join(able) or 'none yet'}"
        raise SpaceError(f"{name} cannot model {space}; {hint}")
    cls = entry.load()
    known = options_of(cls)
    for option in options:
        if option not in known:
            raise OptionError(f"{name} has no option {option!r}{suggestion(option, known)}")
    model = cls.for_space(space, condition, **options)
    model.recipe = {
        "model": name,
        "space": space.to_dict(),
        "condition": None if condition is None else condition.to_dict(),
        "options": options,
    }
    return model

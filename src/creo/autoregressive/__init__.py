"""Autoregressive models: exact likelihood by the chain rule, p(x) = prod_i p(x_i | x_<i)."""

from creo.autoregressive.conditional import conditional_density as conditional_density
from creo.autoregressive.conditional import density_plot as density_plot
from creo.autoregressive.decoding import ancestral as ancestral
from creo.autoregressive.decoding import complete as complete
from creo.autoregressive.decoding import draw as draw
from creo.autoregressive.gated_pixelcnn import GatedPixelCNN as GatedPixelCNN
from creo.autoregressive.guidance import Guided as Guided
from creo.autoregressive.image_transformer import ImageTransformer as ImageTransformer
from creo.autoregressive.made import MADE as MADE
from creo.autoregressive.masks import known_part as known_part
from creo.autoregressive.mixed_made import MixedMADE as MixedMADE
from creo.autoregressive.nade import FVSBN as FVSBN
from creo.autoregressive.nade import NADE as NADE
from creo.autoregressive.pixelcnn import PixelCNN as PixelCNN
from creo.autoregressive.pixelcnn_pp import PixelCNNpp as PixelCNNpp
from creo.autoregressive.receptive_field import receptive_field as receptive_field
from creo.autoregressive.receptive_field import receptive_field_picture as receptive_field_picture

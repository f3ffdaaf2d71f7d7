"""Autoregressive models: exact likelihood by the chain rule, p(x) = prod_i p(x_i | x_<i)."""

from creo.autoregressive.decoding import ancestral as ancestral
from creo.autoregressive.decoding import complete as complete
from creo.autoregressive.decoding import draw as draw
from creo.autoregressive.gated_pixelcnn import GatedPixelCNN as GatedPixelCNN
from creo.autoregressive.image_transformer import ImageTransformer as ImageTransformer
from creo.autoregressive.made import MADE as MADE
from creo.autoregressive.mixed_made import MixedMADE as MixedMADE
from creo.autoregressive.nade import FVSBN as FVSBN
from creo.autoregressive.nade import NADE as NADE
from creo.autoregressive.pixelcnn import PixelCNN as PixelCNN
from creo.autoregressive.pixelcnn_pp import PixelCNNpp as PixelCNNpp

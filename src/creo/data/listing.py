# ruff: noqa: E501 - one line per data set is the point
"""Every data set, one line each: name, space, splits, size, licence, source.

Strings only: listing the data sets imports no torch. `creo.data.load_data` imports the function a `path` points at.
A name that ends in a colon is a kind of file of one's own: `images:FOLDER`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from creo.errors import UnknownName, suggestion

if TYPE_CHECKING:
    from creo.data.dataset import Data


@dataclass(frozen=True)
class DataSet:
    """A data set that can be loaded.

    Args:
        name: what `load_data` and the command line call it; `kind:` for files of one's own.
        path: `module:function` of its loader.
        space: what one sample is, as text.
        splits: number of training, validation and test examples, as text.
        size: what has to be downloaded or kept.
        licence: under which terms.
        source: who published it, and where.
        summary: one line: what it is.
    """

    name: str
    path: str
    space: str
    splits: str
    size: str
    licence: str
    source: str
    summary: str

    def loader(self) -> Callable[..., Data]:
        """Import the loader, `(request, **options) -> Data`."""
        module, _, function = self.path.partition(":")
        return getattr(importlib.import_module(module), function)


def _density(name: str, summary: str) -> DataSet:
    return DataSet(name, "creo.data.densities:load", "Continuous((2,))", "50000/5000/5000", "drawn when loaded",
                   "none needed", "drawn from the density itself, fixed seed", summary)  # fmt: skip


_DIGITS = ("CC BY 4.0", "Alpaydin, Kaynak (1998), UCI, as in scikit-learn")
_MNIST = ("CC BY-SA 3.0", "LeCun, Cortes, Burges (1998), http://yann.lecun.com/exdb/mnist/")
_FASHION = ("MIT", "Xiao, Rasul, Vollgraf (2017), https://github.com/zalandoresearch/fashion-mnist")
_CIFAR = ("none stated, for research", "Krizhevsky (2009), https://www.cs.toronto.edu/~kriz/cifar.html")
_OWN = ("yours", "files of your own")
_GREY, _BITS = "Ordinal((1, 28, 28), 256)", "Ordinal((1, 28, 28), 2)"
_IDX, _BINARY, _FIXED = "creo.data.idx:load", "creo.data.binarised:dynamic", "creo.data.binarised:fixed"
_CAPTIONS, _MOVING = "creo.data.captions:load", "creo.data.moving:load"
_SIXTY, _RANDOM = "50000/10000/10000", "80/10/10 % at random"

# fmt: off
_DATA_SETS: dict[str, DataSet] = {d.name: d for d in (
    DataSet("digits", "creo.data.digits:load", "Ordinal((1, 8, 8), 17)", "1000/350/447", "embedded", *_DIGITS, "handwritten digits, tiny, with labels"),
    DataSet("digits-captions", _CAPTIONS, "Ordinal((1, 16, 16), 17)", "10000/350/447", "embedded", *_DIGITS, "digits of many sizes and places, with captions: a small bold seven on the left"),
    DataSet("moving-digits", _MOVING, "Ordinal((8, 16, 16), 17)", "10000/1000/1000", "embedded", *_DIGITS, "videos of digits that move and bounce, with labels or their first frames"),
    _density("moons", "two interleaving half circles"),
    _density("rings", "four concentric circles"),
    _density("pinwheel", "five curved arms"),
    _density("checkerboard", "uniform on every other square"),
    _density("eight-gaussians", "eight modes on a circle"),
    _density("25-gaussians", "twenty-five sharp modes on a grid"),
    _density("two-spirals", "two arms around each other"),
    _density("banana", "a curved ridge"),
    DataSet("mnist", _IDX, _GREY, _SIXTY, "11 MB", *_MNIST, "handwritten digits, with labels"),
    DataSet("mnist-binary", _BINARY, _BITS, _SIXTY, "11 MB", *_MNIST, "mnist, training pictures binarised anew each time"),
    DataSet("mnist-binary-fixed", _FIXED, _BITS, _SIXTY, "11 MB", *_MNIST, "mnist, binarised once with a fixed seed"),
    DataSet("mnist-captions", _CAPTIONS, _GREY, _SIXTY, "11 MB", *_MNIST, "mnist in many sizes and places, with captions"),
    DataSet("moving-mnist", _MOVING, "Ordinal((8, 32, 32), 256)", "10000/1000/1000", "11 MB", *_MNIST, "videos of mnist digits that move and bounce, with labels or their first frames"),
    DataSet("fashion-mnist", _IDX, _GREY, _SIXTY, "31 MB", *_FASHION, "articles of clothing, with labels"),
    DataSet("fashion-mnist-binary", _BINARY, _BITS, _SIXTY, "31 MB", *_FASHION, "fashion-mnist, training pictures binarised anew each time"),
    DataSet("fashion-mnist-binary-fixed", _FIXED, _BITS, _SIXTY, "31 MB", *_FASHION, "fashion-mnist, binarised once with a fixed seed"),
    DataSet("cifar10", "creo.data.cifar:load", "Ordinal((3, 32, 32), 256)", "45000/5000/10000", "170 MB", *_CIFAR, "small colour photographs, with labels"),
    DataSet("bsds300", "creo.data.bsds:load", "Continuous((63,))", "100000/10000/20000", "22 MB", "non-commercial research", "Martin, Fowlkes, Tal, Malik (2001), https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/", "8 x 8 grey patches of photographs, mean removed"),
    DataSet("uci:", "creo.data.uci:load", "Continuous((D,))", "published test masks, or 80/10/10 %", "0.1 to 2 MB", "CC BY 4.0 mostly", "UCI Machine Learning Repository, https://archive.ics.uci.edu", "uci:NAME, continuous columns: kin40k, california-housing, sml, wine-white and others"),
    DataSet("images:", "creo.data.images:load", "Ordinal((C, H, W), 256)", _RANDOM, "any", *_OWN, "images:FOLDER, a folder of pictures; sub-folders are labels"),
    DataSet("table:", "creo.data.table:load", "Table", _RANDOM, "any", *_OWN, "table:FILE.csv, .csv.gz or .parquet"),
    DataSet("array:", "creo.data.arrays:load", "Continuous or Ordinal", _RANDOM, "any", *_OWN, "array:FILE.npy or .npz, with x and c, or train, valid, test"),
    DataSet("text:", "creo.data.text:load", "Tokens", "90/5/5 % in order", "any", *_OWN, "text:FILE, windows of characters"),
    DataSet("hf:", "creo.data.hub:load", "as found", _RANDOM, "any", "its own", "https://huggingface.co/datasets", "hf:NAME or hf:FOLDER, a Hugging Face data set"),
)}
# fmt: on


def catalogue() -> dict[str, DataSet]:
    """All data sets by name."""
    return dict(_DATA_SETS)


def find_data(name: str) -> DataSet:
    """The data set of that name.

    Raises:
        UnknownName: with the nearest names.
    """
    if name not in _DATA_SETS:
        raise UnknownName(f"no data set named {name!r}{suggestion(name, _DATA_SETS)}")
    return _DATA_SETS[name]

"""Published weights of other people's networks: a file of one's own, or from the hub when it can be reached.

Looked for, in this order: the file named after the colon (`inception:FILE`); `weights/NAME.safetensors` or `.pth` in
`$CREO_DATA` and in the cache folder; the Hugging Face hub, if the network is there and the extra `hub` is installed.
A `.pth` is read with torch's loader of tensors alone: no code of the file's is run.
"""

from __future__ import annotations

import hashlib
from _pickle import UnpicklingError as _Unpickling  # what torch's loader raises for more than tensors
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from creo.errors import DataError, MissingExtra

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Source:
    """Where a network's weights are.

    Args:
        name: the network's, and the file's without suffix.
        origin: where a person gets them.
        repository: on the hub, or empty.
    """

    name: str
    origin: str
    repository: str = ""

    def file(self, target: str) -> Path:
        """The local file, downloaded if need be.

        Raises:
            DataError: there is none; says where to put it. MissingExtra: only the hub has it, and it cannot be asked.
        """
        if target:
            if not Path(target).is_file():
                raise DataError(f"{self.name}: no file {target}; weights are at {self.origin}")
            return Path(target)
        places = list(self._places())
        for path in places:
            if path.is_file():
                return path
        if not self.repository:
            raise DataError(
                f"{self.name} needs weights: put those of {self.origin} at {places[0]}, or give {self.name}:FILE"
            )
        return self._from_hub()

    def _places(self) -> Iterable[Path]:
        from creo.data.files import cache_folder
        from creo.data.load import environment_folder

        roots = [root for root in (environment_folder(), cache_folder()) if root is not None]
        return (root / "weights" / f"{self.name}{end}" for root in roots for end in (".safetensors", ".pth"))

    def _from_hub(self) -> Path:
        try:
            from huggingface_hub import hf_hub_download
        except ImportError:
            raise MissingExtra(f"{self.name} from the hub", "hub") from None
        try:
            return Path(hf_hub_download(self.repository, "model.safetensors"))
        except (OSError, ValueError) as error:  # what the hub's client raises when offline derives from these
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{self.name}: {self.repository} cannot be had from the hub ({why}); give {self.name}:FILE"
            ) from None


def read_weights(path: Path) -> tuple[Weights, str]:
    """The tensors of a file in float32, and a hash of its content.

    Raises:
        DataError: it is not a file of tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = path.read_bytes()
    try:
        if path.suffix == ".safetensors":
            tensors = load(content)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        floats = {name: t.float() for name, t in tensors.items() if t.is_floating_point()}
    except (SafetensorError, RuntimeError, ValueError, AttributeError, EOFError, _Unpickling) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is not a file of weights: {why}") from None
    return floats, hashlib.blake2b(content, digest_size=8).hexdigest()

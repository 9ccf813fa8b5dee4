"""Image collections by name: scikit-learn's digits, MNIST, Fashion-MNIST."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .dataset import TensorDataset
from .idx import read_idx


@dataclass(frozen=True)
class Images:
    """Labelled images, divided into those to train with and those to test with.

    Attributes:
        name: which collection it is.
        train_images, test_images: float32, (N, 1, H, W), from 0 to 1.
        train_labels, test_labels: int64, (N,), indices into `classes`.
        classes: what the labels mean.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]

    @property
    def train(self) -> TensorDataset:
        """The pairs (image, label) to train with."""
        return TensorDataset(self.train_images, self.train_labels)

    @property
    def test(self) -> TensorDataset:
        """The pairs (image, label) to test with."""
        return TensorDataset(self.test_images, self.test_labels)

    def __repr__(self) -> str:
        return (
            f"Images({self.name!r}, train {self.train_images.shape}, "
            f"test {self.test_images.shape}, {len(self.classes)} classes)"
        )


@dataclass(frozen=True)
class _File:
    """A published file: the MD5 of the compressed file, the SHA-256 of the bytes inside."""

    name: str
    md5: str
    sha256: str


@dataclass(frozen=True)
class _Collection:
    """Four IDX files (images and labels, to train and to test with) and their publisher."""

    url: str
    classes: tuple[str, ...]
    files: tuple[_File, _File, _File, _File]


_IDX = {
    "mnist": _Collection(
        # The mirror that PyTorch keeps; the authors' own site refuses automatic downloads.
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        tuple("0123456789"),
        (
            _File(
                "train-images-idx3-ubyte.gz",
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            _File(
                "train-labels-idx1-ubyte.gz",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            _File(
                "t10k-images-idx3-ubyte.gz",
                "9fb629c4189551a2d022fa330f9573f3",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            _File(
                "t10k-labels-idx1-ubyte.gz",
                "ec29112dd5afa0611ce80d1b7f02629c",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    ),
    "fashion-mnist": _Collection(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        (
            _File(
                "train-images-idx3-ubyte.gz",
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            _File(
                "train-labels-idx1-ubyte.gz",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            _File(
                "t10k-images-idx3-ubyte.gz",
                "bef4ecab320f06d8554ea6380940ec79",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            _File(
                "t10k-labels-idx1-ubyte.gz",
                "bb300cfdad3c16e7a12a480ee83cd310",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
    ),
}


def load(name: str, root: str | Path | None = None) -> Images:
    """A collection of labelled images by name.

    - `"digits"`: 1797 images of 8x8, inside scikit-learn's package. Every fifth image of each class
      is for testing: 1442 to train with and 355 to test with.
    - `"mnist"`, `"fashion-mnist"`: 60,000 and 10,000 images of 28x28. Read from the folder `root`,
      or else the one that the environment variable MINIGRAD_DATA names, as
      `mnist/train-images-idx3-ubyte.gz` and so on (compressed or not); if there is neither, fetched
      by pooch into the user's cache. Checksums are verified in all cases.

    Args:
        name: which one.
        root: the folder that holds a folder for each collection.

    Raises:
        ValueError: if there is no such collection, or a file is damaged or not the published one.
        FileNotFoundError: if files are missing and cannot be fetched.
        ImportError: if a package is needed that is not installed.
    """
    if name == "digits":
        return _digits()
    if name not in _IDX:
        raise ValueError(
            f"data.load: no collection {name!r}; there are 'digits', "
            + ", ".join(repr(known) for known in _IDX)
        )
    collection = _IDX[name]
    folder = os.environ.get("MINIGRAD_DATA") if root is None else root
    paths = [  # all are there before any is read
        _in_folder(file, Path(folder) / name) if folder else _fetched(file, name, collection.url)
        for file in collection.files
    ]
    arrays = [
        read_idx(path, sha256=file.sha256)
        for path, file in zip(paths, collection.files, strict=True)
    ]
    x, y, test_x, test_y = arrays  # the checksums vouch for their shapes: (N, H, W) and (N,)
    return Images(
        name,
        _scaled(x[:, None], 255),
        wrap(y.astype(np.int64)),
        _scaled(test_x[:, None], 255),
        wrap(test_y.astype(np.int64)),
        collection.classes,
    )


def _scaled(images: np.ndarray, white: float) -> Tensor:
    result = images.astype(np.float32)
    result /= white
    return wrap(result)


def _digits() -> Images:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError(
            "data.load: 'digits' is part of the package scikit-learn, which is not installed "
            "(pip install 'minigrad-engine[data]')"
        ) from None
    found: Any = load_digits()
    labels = found.target.astype(np.int64)
    test = np.zeros(len(labels), bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[4::5]] = True
    images = found.images[:, None]  # (N, 1, 8, 8), from 0 to 16
    return Images(
        "digits",
        _scaled(images[~test], 16),
        wrap(labels[~test]),
        _scaled(images[test], 16),
        wrap(labels[test]),
        tuple("0123456789"),
    )


def _in_folder(file: _File, folder: Path) -> Path:
    for path in (folder / file.name, folder / file.name.removesuffix(".gz")):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"data.load: there is no {folder / file.name}; set MINIGRAD_DATA (or the argument root) to "
        f"the folder that holds {folder.name}/{file.name}, or to nothing, to fetch the files"
    )


def _fetched(file: _File, name: str, url: str) -> Path:
    advice = f"set MINIGRAD_DATA to a folder that holds {name}/{file.name}"
    try:
        import pooch
    except ImportError:
        raise ImportError(
            f"data.load: fetching {name} needs the package pooch, which is not installed "
            f"(pip install 'minigrad-engine[data]'); or {advice}"
        ) from None
    folder = pooch.os_cache("minigrad") / name
    try:
        return Path(pooch.retrieve(url + file.name, f"md5:{file.md5}", file.name, folder))
    except OSError as error:  # no network, no such host, disk full, ...
        raise FileNotFoundError(
            f"data.load: {url}{file.name} could not be fetched into {folder} ({error}); {advice}"
        ) from error

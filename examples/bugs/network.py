"""The network: images, each by some camera, into three classes. Any of its rules may be wrong."""

import numpy as np

from . import operations

NAMES = (
    "pad", "conv2d", "batch_norm", "tanh", "max_pool", "embedding", "layer_norm", "dropout",
    "softmax", "linear", "add_bias", "cross_entropy",
)  # fmt: skip
"""Its operations, in the order in which they are used."""

CAMERAS = np.array([1, 0, 1, 1])  # which took the image: camera 1 took three of them
LABELS = np.array([2, 0, 1, 2])


def planted(name=""):
    """All operations by name, the one of this name with its bug; without a name all are right."""
    found = {}
    for n in NAMES:
        rule = getattr(operations, f"{n}_{'bug' if n == name else 'rule'}")
        found[n] = getattr(operations, n)(rule)
    return found


def network(ops, rng):
    """The loss as a function of the parameters, and parameters to check it at."""
    images = rng.normal(size=(4, 1, 4, 4))
    kept = rng.random((4, 8)) < operations.KEEP
    parameters = [
        rng.normal(size=(4, 4)),  # what a camera sees with nothing in front of it
        rng.normal(size=(2, 1, 3, 3)),  # convolution
        rng.normal(size=(3, 8)),  # what is known of each camera
        rng.normal(size=(8, 8)),  # which features to look at
        rng.normal(size=(8, 3)),  # the classes
        rng.normal(size=3),
    ]

    def loss(background, kernel, cameras, gate, weight, bias):
        x = ops["conv2d"](ops["pad"](images - background), kernel)
        x = ops["tanh"](ops["batch_norm"](x))
        x = ops["max_pool"](x).reshape(4, 8) + ops["embedding"](cameras, CAMERAS)
        x = ops["dropout"](ops["layer_norm"](x), kept)
        x = x * ops["softmax"](ops["linear"](x, gate))
        scores = ops["add_bias"](x @ weight, bias)
        return ops["cross_entropy"](scores, LABELS)

    return loss, parameters


def arguments(name, rng):
    """Arguments to check one operation at: as the network has them, or alike."""
    shapes = {
        "pad": [(2, 1, 4, 4)],
        "conv2d": [(1, 2, 4, 3), (2, 2, 3, 2)],
        "batch_norm": [(3, 2, 2, 2)],
        "tanh": [(3, 4)],
        "max_pool": [(2, 1, 4, 4)],
        "embedding": [(3, 4)],
        "layer_norm": [(3, 5)],
        "dropout": [(4, 5)],
        "softmax": [(3, 5)],
        "linear": [(4, 4), (4, 4)],
        "add_bias": [(4, 3), (3,)],
        "cross_entropy": [(4, 3)],
    }[name]
    others = {
        "embedding": [CAMERAS],
        "dropout": [rng.random((4, 5)) < operations.KEEP],
        "cross_entropy": [LABELS],
    }
    return [rng.normal(size=shape) for shape in shapes] + others.get(name, [])

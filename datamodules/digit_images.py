"""Reader of the 8 x 8 digits that come with scikit-learn. Needs neither Lightning nor a network.

1,797 handwritten digits with pixels 0 … 16, preprocessed by NIST programs and given to the UCI repository by E. Alpaydin and
C. Kaynak. A fixed random 1,437 of them are the training set, the other 360 the test set.
"""

from __future__ import annotations

import hashlib

import torch

from datamodules.image_files import Split
from zoo.registry import ZooError

LICENCE = "CC BY 4.0"
TRAINING = 1437


def read_digits(split: str) -> Split:
    """The split "train" or "test": images (n, 1, 8, 8) float32 on [0, 1], and labels.

    Raises:
        ZooError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ZooError("The digits need scikit-learn: pip install -e '.[depth]'.") from None
    pixels, labels = load_digits(return_X_y=True)
    digest = hashlib.sha256(pixels.astype("uint8").tobytes()).hexdigest()
    images = torch.from_numpy(pixels).float().div(16).reshape(-1, 1, 8, 8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    kept = order[:TRAINING] if split == "train" else order[TRAINING:]
    return Split(images[kept], torch.from_numpy(labels).long()[kept], {"digits sha256": digest})

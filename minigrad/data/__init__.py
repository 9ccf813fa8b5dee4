"""Data: datasets, batches, and image collections by name."""

from .dataset import (
    Dataset as Dataset,
    Subset as Subset,
    TensorDataset as TensorDataset,
    random_split as random_split,
)
from .idx import read_idx as read_idx
from .images import Images as Images, load as load
from .loader import DataLoader as DataLoader, default_collate as default_collate

"""Training: the loop, the history of a training, the progress bar."""

from .history import Epoch as Epoch, History as History
from .trainer import Trainer as Trainer, accuracy as accuracy

"""What a teacher says of the texts of a training, asked only of those that the training reads."""

from collections.abc import Sequence

import numpy as np
import torch

from eicompress.contracts import Array, Teacher
from eicompress.values import Text


class Told:
    """A teacher's logits and states of n texts; of rows that were not asked for they are zero."""

    def __init__(self, teacher: Teacher, texts: Sequence[Text]) -> None:
        self.teacher, self.texts = teacher, texts
        first = teacher.outputs(texts[:1])
        self.logits = torch.zeros(len(texts), first.logits.shape[1])
        """(n, outputs)"""
        self.states = torch.zeros(len(texts), first.states.shape[1])
        """(n, the width of the teacher's state)"""

    def ask(self, rows: Array) -> None:
        outputs = self.teacher.outputs([self.texts[row] for row in rows])
        self.logits[rows] = torch.from_numpy(np.asarray(outputs.logits, np.float32))
        self.states[rows] = torch.from_numpy(np.asarray(outputs.states, np.float32))

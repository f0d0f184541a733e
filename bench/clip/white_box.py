"""What a prompt could reach if gradients were to be had: the ceiling of the benchmark."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from pyasmg.clip import PromptTask


def white_box(task: PromptTask, n_steps: int = 300, learning_rate: float = 0.02) -> npt.NDArray[np.float32]:
    """Return the prompt (n_ctx, width) that Adam finds on the sum of the training losses."""
    prompt = torch.from_numpy(task.start.copy()).requires_grad_()
    optimizer = torch.optim.Adam([prompt], learning_rate)
    for _ in range(n_steps):
        text = functional.normalize(task.encoder.encode(prompt[None])[0], dim=-1)
        losses = [
            functional.cross_entropy(task.scale * part.features @ text.T, part.labels) for part in task.parts("train")
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
    result: npt.NDArray[np.float32] = prompt.detach().numpy()
    return result

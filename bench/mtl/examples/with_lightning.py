"""A balancer in a LightningModule: manual optimization, and one line in the training step.

    python bench/mtl/examples/with_lightning.py

Needs ``pytorch-lightning`` beside ``pyasmg[torch]``. The balancer is a module, so that Lightning's checkpoints hold its
state; its weights and the conflict rate are logged at each step.
"""

import numpy as np
import pytorch_lightning as lightning
import torch
from sklearn.datasets import load_digits
from torch import nn

import pyasmg.mtl


class MultiTask(lightning.LightningModule):
    """A trunk with three heads, balanced by Nash-MTL."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.trunk = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(64, 10), nn.Linear(64, 2), nn.Linear(64, 2)])
        self.balancer = pyasmg.mtl.NashMTL(n_tasks=3, head_weights="one")

    def training_step(self, batch: list[torch.Tensor], index: int) -> None:
        """Take one step."""
        x, *targets = batch
        features = self.trunk(x)
        losses = [
            nn.functional.cross_entropy(head(features), target)
            for head, target in zip(self.heads, targets, strict=True)
        ]
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.balancer.backward(losses, shared=self.trunk.parameters(), heads=[head.parameters() for head in self.heads])
        optimizer.step()
        last = self.balancer.diagnostics
        self.log("conflict rate", last.conflict_rate, prog_bar=True)
        self.log_dict({f"weight {task}": weight for task, weight in enumerate(last.weights)})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Train trunk and heads."""
        return torch.optim.Adam([*self.trunk.parameters(), *self.heads.parameters()], lr=1e-3)


if __name__ == "__main__":
    images, digit = load_digits(return_X_y=True)
    data = torch.utils.data.TensorDataset(
        torch.from_numpy(images / 16.0).float(),
        *(torch.from_numpy(np.asarray(label)).long() for label in (digit, digit % 2, digit > 4)),
    )
    loader = torch.utils.data.DataLoader(data, batch_size=100, shuffle=True)
    trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False)
    model = MultiTask()
    trainer.fit(model, loader)
    print(trainer.callback_metrics)

"""Several tasks, one trunk: PIVRG in a plain PyTorch training loop.

    python bench/mtl/examples/plain_pytorch.py

Six tasks on scikit-learn's digits. The only change to an ordinary loop is one line: ``balancer.backward`` in the place
of ``loss.backward()``. After each epoch the balancer is told the validation metrics, and shifts weight to the tasks
that are behind their single-task baselines, which are trained first.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import pyasmg.mtl

EPOCHS = 10

images, digit = load_digits(return_X_y=True)
x = torch.from_numpy(images / 16.0).float()
labels = {
    "digit": digit,
    "parity": digit % 2,
    "above 4": digit > 4,
    "prime": np.isin(digit, (2, 3, 5, 7)),
    "loop": np.isin(digit, (0, 6, 8, 9)),
    "multiple of 3": digit % 3 == 0,
}
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
training, validation = order[:1400], order[1400:]


def fit(names: list[str], balancer: pyasmg.mtl.Balancer) -> list[float]:
    """Train one network on the named tasks; return its validation accuracies."""
    torch.manual_seed(0)
    targets = [torch.from_numpy(np.asarray(labels[name])).long() for name in names]
    trunk = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    heads = nn.ModuleList(nn.Linear(64, 10 if name == "digit" else 2) for name in names)
    optimizer = torch.optim.Adam([*trunk.parameters(), *heads.parameters()], lr=1e-3)
    accuracies: list[float] = []
    for _ in range(EPOCHS):
        for rows in training[torch.randperm(len(training))].split(100):
            features = trunk(x[rows])
            losses = [
                nn.functional.cross_entropy(head(features), target[rows])
                for head, target in zip(heads, targets, strict=True)
            ]
            optimizer.zero_grad()
            balancer.backward(losses, shared=trunk.parameters(), heads=[head.parameters() for head in heads])
            optimizer.step()
        with torch.no_grad():
            features = trunk(x[validation])
            accuracies = [
                float((head(features).argmax(1) == target[validation]).float().mean())
                for head, target in zip(heads, targets, strict=True)
            ]
        if isinstance(balancer, pyasmg.mtl.PIVRG):
            balancer.update(accuracies)
    return accuracies


if __name__ == "__main__":
    tasks = list(labels)
    baselines = [fit([task], pyasmg.mtl.EW(n_tasks=1))[0] for task in tasks]
    performance = pyasmg.mtl.Performance(baselines, higher_is_better=True)
    pivrg = pyasmg.mtl.PIVRG(n_tasks=len(tasks), performance=performance)
    for title, balancer in (("equal weights", pyasmg.mtl.EW(n_tasks=len(tasks))), ("PIVRG", pivrg)):
        drops = performance.drops(fit(tasks, balancer))
        print(
            f"{title}: performance drops in % " + ", ".join(f"{t} {d:.1f}" for t, d in zip(tasks, drops, strict=True))
        )
        print(f"    mean {drops.mean():.2f}, variance {drops.var():.2f}")
    last = pivrg.diagnostics
    print("weights of the last step", last.weights.round(2), "conflict rate", round(last.conflict_rate, 2))

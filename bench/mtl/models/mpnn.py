"""The message-passing network of QM9."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import Network


class MPNN(Network):
    """Gilmer et al. (2017) as in the code of Nash-MTL and LibMTL; a linear head per task.

    Atoms are embedded in `width` numbers; three rounds of messages, whose matrices are functions of the edges and
    which are averaged over the neighbours, go through one GRU; set2set of three rounds pools the atoms. The layers
    are those of torch_geometric's NNConv and Set2Set, with their initialisation of linear layers as in PyTorch.
    """

    WIDTH = 64

    def __init__(self, n_tasks: int, width: int = WIDTH, n_atom: int = 11, n_edge: int = 5, rounds: int = 3) -> None:
        super().__init__()
        self.width, self.rounds = width, rounds
        self.embed = nn.Linear(n_atom, width)
        self.message = nn.Sequential(nn.Linear(n_edge, 128), nn.ReLU(), nn.Linear(128, width * width))
        self.root = nn.Linear(width, width, bias=True)
        self.gru = nn.GRU(width, width)
        self.pool = nn.LSTM(2 * width, width)
        self.out = nn.Linear(2 * width, width)
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(n_tasks))

    def features(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the representation of each molecule.

        Parameters
        ----------
        inputs : dict
            "x" (atoms, 11), "edge_index" (2, edges), "edge_attr" (edges, 5), "batch" (atoms,): ascending.
        """
        source, target = inputs["edge_index"]
        x = functional.relu(self.embed(inputs["x"]))
        n_neighbours = x.new_zeros(len(x)).index_add(0, target, x.new_ones(len(target))).clamp(min=1.0)
        matrices = self.message(inputs["edge_attr"]).view(-1, self.width, self.width)
        state = x[None]
        for _ in range(self.rounds):
            sent = torch.bmm(x[source, None, :], matrices)[:, 0, :]
            received = torch.zeros_like(x).index_add(0, target, sent) / n_neighbours[:, None]
            out, state = self.gru(functional.relu(received + self.root(x))[None], state)
            x = out[0]
        return functional.relu(self.out(self._set2set(x, inputs["batch"])))

    def _set2set(self, x: Tensor, batch: Tensor) -> Tensor:
        """Return (molecules, 2 width): Vinyals et al. (2016)."""
        n = int(batch[-1]) + 1
        query = x.new_zeros((n, 2 * self.width))
        state = (x.new_zeros((1, n, self.width)), x.new_zeros((1, n, self.width)))
        for _ in range(self.rounds):
            q, state = self.pool(query[None], state)
            scores = (x * q[0][batch]).sum(dim=1)
            highest = scores.new_full((n,), -torch.inf).scatter_reduce(0, batch, scores.detach(), "amax")
            shares = (scores - highest[batch]).exp()
            total = x.new_zeros(n).index_add(0, batch, shares)
            read = torch.zeros_like(q[0]).index_add(0, batch, x * (shares / total[batch])[:, None])
            query = torch.cat([q[0], read], dim=1)
        return query

"""Tensors of the usual kind in host memory, at a tenth of the cost of calling their methods."""

import torch
from torch import Tensor, nn

from .. import _core

#: Each of its functions says where it did not serve; what is not usual goes through PyTorch then.
usual = _core.Tensors(Tensor, nn.Parameter, torch.empty_like)

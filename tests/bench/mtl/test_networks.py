"""The networks: shapes at the true sizes (without computing), names, and what gets gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from bench.mtl.models.cnn9 import CNN9
from bench.mtl.models.mpnn import MPNN
from bench.mtl.models.resnet18 import OfficeNetwork, ResNet18
from bench.mtl.models.segnet_mtan import SegNetMTAN

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
SHAPES = {1: (64, 64), 2: (64, 128), 3: (128, 256), 4: (256, 512)}


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("outputs", "size"), [((13, 1, 3), (288, 384)), ((7, 1), (128, 256))])
def test_segnet_at_the_true_sizes(outputs, size):
    with torch.device("meta"):
        network = SegNetMTAN(outputs, unit_length=(2,))
        features = network.features(torch.empty(2, 3, *size))
        predictions = network.predict(features)
    assert [tuple(feature.shape) for feature in features] == [(2, 64, *size)] * len(outputs)
    assert [tuple(out.shape) for out in predictions] == [(2, n, *size) for n in outputs]


def test_segnet_is_mtans():
    """44.23 million parameters with three tasks, as the tables of the literature have it."""
    with torch.device("meta"):
        assert round(count(SegNetMTAN((13, 1, 3))) / 1e6, 2) == 44.23


def test_cnn9_at_the_true_size():
    with torch.device("meta"):
        network = CNN9(40)
        features = network.features(torch.empty(256, 3, 64, 64))
    assert features.shape == (256, 512)
    assert [tuple(out.shape) for out in network.predict(features)] == [(256, 1)] * 40
    layers = [module for module in network.trunk if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 9


@pytest.mark.parametrize(("n_tasks", "n_classes", "hidden"), [(3, 31, False), (4, 65, True)])
def test_office_at_the_true_size(n_tasks, n_classes, hidden):
    with torch.device("meta"):
        network = OfficeNetwork(n_tasks, n_classes, hidden_layer=hidden)
        out = network([torch.empty(64, 3, 224, 224)] * n_tasks)
    assert [tuple(one.shape) for one in out] == [(64, n_classes)] * n_tasks


def test_mpnn_at_the_true_width():
    """29 atoms, as many as the largest molecules have, in 120 complete graphs."""
    molecules, atoms = 120, 29
    with torch.device("meta"):
        network = MPNN(11)
        matrices = network.message(torch.empty(molecules * atoms * (atoms - 1), 5))
    assert matrices.shape == (97_440, 64 * 64)
    inputs = {"x": torch.rand(2, 11), "edge_index": torch.tensor([[0, 1], [1, 0]]), "edge_attr": torch.rand(2, 5)}
    network = MPNN(11)
    assert network.features({**inputs, "batch": torch.tensor([0, 0])}).shape == (1, 64)


def test_resnet_has_the_names_and_shapes_of_torchvision():
    """The state dict of torchvision.models.resnet18 without ``fc``: 120 entries, 11,176,512 parameters."""
    expected = {"conv1.weight": (64, 3, 7, 7)}
    expected |= {f"bn1.{name}": (64,) if name != NORM[-1] else () for name in NORM}
    for layer, (n_inputs, n) in SHAPES.items():
        for block in range(2):
            prefix = f"layer{layer}.{block}"
            expected[f"{prefix}.conv1.weight"] = (n, n_inputs if block == 0 else n, 3, 3)
            expected[f"{prefix}.conv2.weight"] = (n, n, 3, 3)
            norms = ["bn1", "bn2"]
            if layer > 1 and block == 0:
                expected[f"{prefix}.downsample.0.weight"] = (n, n_inputs, 1, 1)
                norms.append("downsample.1")
            expected |= {f"{prefix}.{norm}.{name}": (n,) if name != NORM[-1] else () for norm in norms for name in NORM}
    network = ResNet18()
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == expected
    assert len(expected) == 120
    assert count(network) == 11_176_512


def test_weights_from_a_file(tmp_path):
    """With ``fc``, as torchvision's file has it; anything else is refused with the names."""
    network, other = ResNet18(), ResNet18()
    state = {**other.state_dict(), "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "good.pth")
    network.load_weights(tmp_path / "good.pth")
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name

    bad = {name: value for name, value in state.items() if name != "layer4.1.conv2.weight"}
    torch.save({**bad, "layer5.weight": torch.zeros(1)}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"1 missing \['layer4.1.conv2.weight'\], unknown \['layer5.weight'\]"):
        network.load_weights(tmp_path / "bad.pth")
    torch.save({**state, "conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "shape.pth")
    with pytest.raises(ValueError, match=r"other shapes of \['conv1.weight'\]"):
        network.load_weights(tmp_path / "shape.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="must hold a state dict; it holds a list"):
        network.load_weights(tmp_path / "list.pth")


def test_what_is_shared():
    """Heads and shared parameters are all parameters, each once; the attention may belong to either."""
    networks = {
        "shared": SegNetMTAN((3, 1), widths=(2, 4, 4, 4, 4)),
        "own": SegNetMTAN((3, 1), widths=(2, 4, 4, 4, 4), attention="own"),
        "cnn": CNN9(2),
        "mpnn": MPNN(2, 4),
        "office": OfficeNetwork(2, 5, hidden_layer=True),
    }
    for name, network in networks.items():
        ids = [id(one) for group in (network.shared_parameters(), *network.head_parameters()) for one in group]
        assert sorted(ids) == sorted(id(one) for one in network.parameters()), name
    sizes = {name: sum(len(head) for head in network.head_parameters()) for name, network in networks.items()}
    assert sizes["shared"] == 2 * 4
    assert sizes["own"] == 2 * (4 + 10 * 8)
    with pytest.raises(ValueError, match="`attention` must be 'shared' or 'own'; got 'mine'"):
        SegNetMTAN((3, 1), attention="mine")


def test_attention_of_one_task_is_not_touched_by_another():
    network = SegNetMTAN((3, 1, 3), widths=(2, 4, 4, 4, 4), unit_length=(2,))
    out = network(torch.rand(2, 3, 32, 32))
    out[1].sum().backward()
    touched = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert not [name for name in touched if "attention.0" in name or "attention.2" in name or "heads.0" in name]
    own = {name for name, _ in network.named_parameters() if "attention.1" in name}
    assert own <= touched
    assert own


def test_normals_have_length_one():
    network = SegNetMTAN((3, 3), widths=(2, 4, 4, 4, 4), unit_length=(1,))
    free, normal = network.predict([torch.rand(2, 2, 8, 8)] * 2)
    torch.testing.assert_close(normal.norm(dim=1), torch.ones(2, 8, 8))
    assert (free.norm(dim=1) - 1.0).abs().max() > 0.01


def test_unpooling_puts_values_where_they_came_from():
    """A bright pixel stays in its place through all five stages."""
    network = SegNetMTAN((1,), widths=(1, 1, 1, 1, 1)).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            module.weight.data[:, 0, module.kernel_size[0] // 2, module.kernel_size[1] // 2] = 1.0
    image = torch.zeros(1, 3, 64, 64)
    image[0, 0, 37, 22] = 1.0
    (found,) = network.features(image)
    assert found[0, 0].argmax() == 37 * 64 + 22
    assert (found != 0.0).sum() == 1


def test_mpnn_does_not_depend_on_the_batch_or_on_the_order_of_atoms():
    torch.manual_seed(0)
    network = MPNN(2, 8).double()
    graphs = []
    for n in (3, 5):
        rows, columns = torch.nonzero(~torch.eye(n, dtype=torch.bool), as_tuple=True)
        edges = torch.stack([rows, columns])
        graphs.append((torch.rand(n, 11).double(), edges, torch.rand(edges.shape[1], 5).double()))

    def features(parts):
        shifts, shift, batch = [], 0, []
        for i, (x, _, _) in enumerate(parts):
            shifts.append(shift)
            shift += len(x)
            batch += [i] * len(x)
        inputs = {
            "x": torch.cat([x for x, _, _ in parts]),
            "edge_index": torch.cat([edges + by for (_, edges, _), by in zip(parts, shifts, strict=True)], dim=1),
            "edge_attr": torch.cat([attributes for *_, attributes in parts]),
            "batch": torch.tensor(batch),
        }
        return network.features(inputs)

    both = features(graphs)
    torch.testing.assert_close(both, torch.cat([features([graph]) for graph in graphs]))
    x, edges, attributes = graphs[1]
    order = torch.tensor([4, 2, 0, 1, 3])
    turned = (x[order], order.argsort()[edges], attributes)
    torch.testing.assert_close(features([turned]), both[1:])


def test_mpnn_is_that_of_torch_geometric():
    geometric = pytest.importorskip("torch_geometric.nn")
    torch.manual_seed(0)
    network = MPNN(2, 8)
    convolution = geometric.NNConv(8, 8, network.message, aggr="mean")
    convolution.lin.weight.data = network.root.weight.data
    convolution.bias.data = network.root.bias.data
    pool = geometric.aggr.Set2Set(8, processing_steps=3)
    pool.lstm.load_state_dict(network.pool.state_dict())
    edges = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
    inputs = {"x": torch.rand(5, 11), "edge_index": edges, "edge_attr": torch.rand(6, 5)}
    batch = torch.tensor([0, 0, 0, 1, 1])
    x = functional.relu(network.embed(inputs["x"]))
    state = x[None]
    for _ in range(3):
        out, state = network.gru(functional.relu(convolution(x, edges, inputs["edge_attr"]))[None], state)
        x = out[0]
    expected = functional.relu(network.out(pool(x, batch)))
    torch.testing.assert_close(network.features({**inputs, "batch": batch}), expected)

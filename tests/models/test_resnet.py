"""A ResNet computes what torchvision's does, from a file with its names, and is a trunk of Grafit.

torchvision's module is written down here, at a small size: the names are its own.
"""

import numpy as np
import pytest
import torch
from harness import numpy
from torch import nn

from keras_deit import InputError, create_model
from keras_deit.models import ResNetClassifier, get_spec

DEPTH, WIDTH = (2, 1, 1), 8


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or channels != 4 * width:
            conv = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        branch = torch.relu(self.bn1(self.conv1(x)))
        branch = torch.relu(self.bn2(self.conv2(branch)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(self.bn3(self.conv3(branch)) + shortcut)


class TorchResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = WIDTH
        for stage, blocks in enumerate(DEPTH):
            layers = []
            for index in range(blocks):
                layers.append(
                    Bottleneck(channels, WIDTH * 2**stage, 2 if stage and not index else 1)
                )
                channels = 4 * WIDTH * 2**stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, 5)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(len(DEPTH)):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean(dim=(2, 3)))


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_a_file_of_torchvision_gives_its_logits(tmp_path):
    torch.manual_seed(0)
    original = TorchResNet().eval()
    with torch.no_grad():
        for name, tensor in original.state_dict().items():
            if name.endswith(("running_mean", "running_var", "bias")):
                tensor.uniform_(0.5, 1.5)
    torch.save(original.state_dict(), tmp_path / "resnet.pth")
    sizes = {"image_size": (37, 44), "stem_width": WIDTH, "depth": DEPTH, "num_classes": 5}
    model = create_model("resnet50_224", str(tmp_path / "resnet.pth"), **sizes)
    images = np.random.default_rng(0).normal(size=(3, 37, 44, 3)).astype("float32")
    with torch.no_grad():
        expected = original(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(numpy(model(images)), expected, rtol=0, atol=2e-5)


def test_the_configurations_are_those_of_the_paper():
    depths = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
    specs = {layers: get_spec(f"resnet{layers}_224") for layers in depths}
    assert {layers: spec.config["depth"] for layers, spec in specs.items()} == depths
    # Three convolutions a block, the stem and the head.
    assert all(3 * sum(depth) + 2 == layers for layers, depth in depths.items())


@pytest.mark.parametrize("depth", [0, (), (1, 0)])
def test_a_bad_depth_is_refused(depth):
    with pytest.raises(InputError, match="depth"):
        ResNetClassifier(depth=depth)

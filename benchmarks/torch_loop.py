"""The loop that one would write in PyTorch: one network, one step, minibatches from numpy, on all processors.

Knows PyTorch and the recipe of a Training; must not use what this project computes with.
"""

import torch
from torch import nn

from benchmarks import minibatches, peak_memory, steady
from topo import datasets
from topo.notation import Architecture
from topo.training import Training

_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def network(architecture, height, width, channels, dropout=0.5, max_pooling=True):
    """The layers of Table 1 or 2 for an Architecture with both convolutions and a dense layer.

    max_pooling: False leaves out the pools of the C family. Maps (batch, channels, height, width) float32 to logits
    (batch, 10). Pools are padded below and to the right, as
    TensorFlow's and Flax's "SAME"; PyTorch divides alpha of local response normalisation by its size.
    """
    conv1, conv2, dense = architecture.conv1, architecture.conv2, architecture.dense
    first, second = nn.Conv2d(channels, conv1, 3, padding=1), nn.Conv2d(conv1, conv2, 3, padding=1)
    if architecture.family == "M":
        layers = [first, nn.ReLU(inplace=True), nn.MaxPool2d(2), second, nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        side, regularizer = 4, [nn.Dropout(dropout)]
    else:
        normalizer = nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)
        pools = [nn.MaxPool2d(3, 2, ceil_mode=True)], [nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1)]
        one, two = pools if max_pooling else ([], [])
        layers = [first, nn.ReLU(inplace=True), *one, normalizer, second, nn.ReLU(inplace=True), *two, normalizer]
        side, regularizer = 2 if max_pooling else 1, []
    hidden = conv2 * (height // side) * (width // side)
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(hidden, dense), nn.ReLU(inplace=True), *regularizer, nn.Linear(dense, 10)
    )


def augment(images, side):
    """A random crop of each image, flipped half of the time, centred and divided by its standard deviation."""
    count, channels, height, width = images.shape
    rows = torch.randint(height - side + 1, (count, 1)) + torch.arange(side)
    columns = torch.randint(width - side + 1, (count, 1)) + torch.arange(side)
    columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    image, channel = torch.arange(count)[:, None, None, None], torch.arange(channels)[None, :, None, None]
    crops = images[image, channel, rows[:, None, :, None], columns[:, None, None, :]].float()
    deviation, mean = torch.std_mean(crops, dim=(1, 2, 3), correction=0, keepdim=True)
    return (crops - mean) / deviation.clamp(min=crops[0].numel() ** -0.5)


def loss(network, inputs, labels, l2):
    """Mean cross entropy, and `l2` times half the squared norm of the dense layer's kernel."""
    entropy = nn.functional.cross_entropy(network(inputs), labels)
    dense = next(layer for layer in network if isinstance(layer, nn.Linear))
    return entropy + l2 / 2 * dense.weight.square().sum() if l2 else entropy


def _trainer(training, data, memory_format, bfloat16):
    """A function that trains a new network for so many iterations, each time it is called."""
    _, height, width, channels = data.train_images.shape
    side = training.crop
    model = network(training.architecture, side or height, side or width, channels, max_pooling=training.max_pooling)
    model = model.to(memory_format=memory_format)
    optimizer = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[training.optimizer](
        model.parameters(), training.learning_rate
    )
    stream = minibatches(data.train_images.transpose(0, 3, 1, 2), data.train_labels.astype("int64"), training.batch)

    def run(iterations):
        for _ in range(iterations):
            images, labels = map(torch.from_numpy, next(stream))
            inputs = augment(images, side) if side else images.float() / 255
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                value = loss(model, inputs.contiguous(memory_format=memory_format), labels, training.l2)
            value.backward()
            optimizer.step()

    return run


def measure(architecture, dataset, max_pooling, seconds, bfloat16=False):
    """On noise: {"rate": iterations per second, "memory": bytes at most, "format": the faster memory format}.

    bfloat16: whether products are computed in 16 bits, by PyTorch's automatic mixed precision.
    """
    training = Training(Architecture.parse(architecture), dataset, max_pooling=max_pooling)
    data = datasets.stand_in(dataset)
    loops = {name: _trainer(training, data, memory_format, bfloat16) for name, memory_format in _FORMATS.items()}
    faster = max(loops, key=lambda name: steady(loops[name], seconds / 4))
    return {"rate": steady(loops[faster], seconds), "memory": peak_memory(), "format": faster}

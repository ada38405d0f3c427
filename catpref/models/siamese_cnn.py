"""The study's convolutional trunk, given the sign: it reads each image by itself, and the cuter image is chosen.

P(right) = logistic(u(right) − u(left) + side bias), where both images pass through the same network. With the side
bias set aside, swapping the sides turns P(right) into 1 − P(right), by construction.

u is the sum of two paths. The shortcut is linear in the image's features, and is found first, as in ridge
regression. The trunk, which has the study's convolutions and poolings, starts at zero and learns what the shortcut
leaves, for as many passes over the trials as predict choices between training images that were left out in turn:
none, where the first two do not help.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.special import expit, log_expit
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from catpref._io.workers import threads
from catpref.design.splits import split
from catpref.errors import BadInput
from catpref.models import laplace, stored
from catpref.models.calibration import fit_gain
from catpref.models.components import IMAGES_AT_ONCE, MOST_COMPONENTS, components_of, drawing, mixing_of
from catpref.models.davidson import where_preferred
from catpref.models.interface import Data, Epoch, Images, Model
from catpref.models.learned import learned_from
from catpref.models.study_cnn import CHANNELS
from catpref.models.written import scale_of
from catpref.perception.embeddings import Layout

EPOCHS = 6
_PATIENCE = 2  # passes that do not help, after which no more are tried
_MEMBERS = 2  # networks, from different initial weights, whose utilities are averaged
_INNER_FOLDS = 3
_BATCH = 128  # trials
_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 1e-2
_MOST_DIRECTIONS = 300  # in which the shortcut varies where there are many images


class _Network(nn.Module):
    """What is seen in images (see `components_of`) to their utilities, shape (images,).

    The trunk reads the grid, the shortcut the averages over the image, too. Where it looks at mirror images, it
    learns from either at random and, once trained, averages over both.
    """

    def __init__(self, components: int, layout: Layout, mirror: bool) -> None:
        super().__init__()
        self.maps = (components, layout.grid, layout.grid)
        layers: list[nn.Module] = []
        side, channels_in = layout.grid, components
        for _, channels_out in CHANNELS:
            layers += [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True)]
            side, channels_in = -(-side // 2), channels_out
        layers += [
            nn.Flatten(),
            nn.Linear(channels_in * side**2, 32),
            nn.ReLU(),
            nn.Linear(32, 1, bias=False),
        ]
        nn.init.zeros_(layers[-1].weight)  # type: ignore[arg-type]
        self.trunk = nn.Sequential(*layers)
        seen = components * layout.grid**2 + layout.averages
        self.shortcut = nn.Linear(seen, 1, bias=False).requires_grad_(False)
        self.side_bias = nn.Parameter(torch.zeros(()))
        self.mirror = mirror

    def forward(self, components: Tensor, mirrored: bool = False) -> Tensor:
        maps = components[:, : math.prod(self.maps)].unflatten(1, self.maps)
        return (self.trunk(maps.flip(3) if mirrored else maps) + self.shortcut(components))[:, 0]

    def look(self, components: Tensor) -> Tensor:
        """Return images' utilities, before the gain."""
        with torch.inference_mode():
            utilities = self(components)
            return (utilities + self(components, mirrored=True)) / 2 if self.mirror else utilities

    def differences(self, components: Tensor, pairs: np.ndarray) -> np.ndarray:
        """Return by how much the right image's utility is above the left one's, before the gain."""
        images, indices = np.unique(pairs, return_inverse=True)
        left, right = indices.reshape(-1, 2).T
        utilities = self.look(components[torch.from_numpy(images)]).double().cpu().numpy()
        return utilities[right] - utilities[left]


@dataclass(frozen=True)
class SiameseCNN:
    """Trained networks, whose utilities are averaged.

    Attributes
    ----------
    centre, scale
        The features are standardised with them, as by the `Utility` that the network started from, shape
        (dimensions,).
    mixing
        The first convolution, which makes components of the channels, shape (channels, components).
    networks
        What comes after it.
    gain
        What the differences of utility are multiplied by, so that P(right) is calibrated for images never seen.
    layout
        Of the embedding that the networks read.
    epochs
        How often the trunk saw the training trials.
    history
        How the first network did before and after each pass, where held-out trials were followed.
    """

    centre: np.ndarray
    scale: np.ndarray
    mixing: np.ndarray
    networks: Sequence[_Network]
    gain: float
    layout: Layout
    epochs: int
    history: list[Epoch]

    @property
    def side_bias(self) -> float:
        """The preference for the right whatever it shows, in logits."""
        return float(np.mean([network.side_bias.item() for network in self.networks]))

    def utilities(self, embeddings: np.ndarray) -> np.ndarray:
        """Return each image's utility in logits, shape (images,); only differences mean something."""
        images = np.arange(len(embeddings))
        components = components_of(embeddings, images, self.centre, self.scale, self.mixing, self.layout)
        parts = [
            torch.stack([network.look(part) for network in self.networks]).mean(0).cpu()
            for part in components.to(self.networks[0].side_bias.device).split(IMAGES_AT_ONCE)
        ]
        return self.gain * torch.cat(parts).double().numpy()

    def p_right(self, embeddings: np.ndarray, pairs: np.ndarray, side_bias: bool = True) -> np.ndarray:
        """Predict choices.

        Parameters
        ----------
        embeddings
            Shape (images, dimensions), as in training.
        pairs
            Left and right image of each trial, indices into `embeddings`, shape (trials, 2).
        side_bias
            Whether the observer's side bias counts; without it the prediction is exactly antisymmetric.

        Returns
        -------
        ndarray
            P(right), shape (trials,).
        """
        utilities = self.utilities(embeddings)
        return expit(utilities[pairs[:, 1]] - utilities[pairs[:, 0]] + (self.side_bias if side_bias else 0.0))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return everything there is to save, by name; the training history is not kept."""
        own = {"centre": self.centre, "scale": self.scale, "mixing": self.mixing}
        own |= {"gain": np.array([self.gain]), "mirror": np.array([self.networks[0].mirror], np.uint8)}
        for number, network in enumerate(self.networks):
            own |= {f"{number}.{name}": part.cpu().numpy() for name, part in network.state_dict().items()}
        return own


def restore(tensors: Mapping[str, np.ndarray], layout: Layout, device: str = "cpu") -> SiameseCNN:
    """Restore what `SiameseCNN.tensors` returned, without its history.

    Parameters
    ----------
    tensors
        What was read.
    layout
        Of the embedding that the networks are to read.
    device
        Where the networks run.

    Raises
    ------
    ValueError
        If a part is missing, has another shape or type, or a value that cannot be.
    """
    components = tensors["mixing"].shape[-1:] if "mixing" in tensors else ()
    if not components or components[0] not in range(1, MOST_COMPONENTS + 1):
        raise ValueError("mixing is missing or of another shape")
    with torch.device("meta"):  # no memory, before it is known that the tensors are there
        networks = [_Network(components[0], layout, mirror=False) for _ in range(_MEMBERS)]
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("centre", "scale"), (layout.dimensions,))
    shapes |= {"mixing": (layout.channels, *components), "gain": (1,), "mirror": (1,)}
    for number, network in enumerate(networks):
        shapes |= {f"{number}.{name}": shape for name, shape in stored.shapes_of(network).items()}
    stored.check(tensors, shapes, {"gain": np.float64, "mirror": np.uint8})
    stored.check_positive(tensors, "scale", "gain")
    for number, network in enumerate(networks):
        state = {name: torch.from_numpy(tensors[f"{number}.{name}"]) for name in network.state_dict()}
        network.load_state_dict(state, assign=True)
        network.mirror = bool(tensors["mirror"][0])
        network.to(device).eval()
    gain = float(tensors["gain"][0])
    return SiameseCNN(tensors["centre"], tensors["scale"], tensors["mixing"], networks, gain, layout, 0, [])


def fit(
    embeddings: np.ndarray,
    pairs: np.ndarray,
    choices: np.ndarray,
    standards: tuple[np.ndarray, np.ndarray],
    layout: Layout,
    test: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
    device: str = "cpu",
    mirror: bool = True,
    is_fair: np.ndarray | None = None,
) -> SiameseCNN:
    """Train the networks.

    Parameters
    ----------
    embeddings
        Shape (images, dimensions), any float type.
    pairs
        Left and right image of each trial, indices into `embeddings`, shape (trials, 2).
    choices
        0 = left, 1 = right, shape (trials,).
    standards
        What is taken off each dimension, and what it is divided by then, as by a `Utility` fitted to the same trials,
        which tells how much each layer and region matters.
    layout
        Of the embedding.
    test
        Pairs and choices to follow during training, for the history alone: nothing is chosen by them.
    seed
        Seed of the initial weights, the order of the trials and the inner folds.
    device
        Where to train.
    mirror
        Whether the trunk learns from the features' mirror images, too, and averages over both.
    is_fair
        Which trials may tell when to stop, shape (trials,); see `Data.is_fair`.
    """
    # Layers are too small for two threads, and so what is learned depends on no computer's cores.
    with threads(1):
        random = torch.Generator().manual_seed(seed)
        shown = np.unique(pairs)
        mixing = mixing_of(embeddings, shown, *standards, layout, random)
        followed = shown if test is None else np.unique(np.concatenate([pairs, test[0]]))
        seen = components_of(embeddings, followed, *standards, mixing, layout)
        components = torch.zeros(len(embeddings), seen.shape[1])
        components[followed] = seen
        components = components.to(device)
        untrained = partial(
            _untrained, components, random, partial(_Network, mixing.shape[1], layout, mirror)
        )
        epochs, gain = _choose(components, pairs, choices, seed, random, untrained, is_fair)
        shortcut = _ridge(components, pairs, choices, random)
        networks: list[_Network] = []
        history = []
        for _ in range(_MEMBERS):
            networks.append(untrained(shortcut))
            for _ in _train(networks[-1], components, pairs, choices, epochs, random):
                if test is not None and len(networks) == 1:
                    history.append(_epoch(networks[0], components, (pairs, choices), test))
    return SiameseCNN(*standards, mixing, networks, gain, layout, epochs, history)


def _choose(
    components: Tensor,
    pairs: np.ndarray,
    choices: np.ndarray,
    seed: int,
    random: torch.Generator,
    untrained: Callable[[tuple[Tensor, float]], _Network],
    is_fair: np.ndarray | None,
) -> tuple[int, float]:
    """Find the number of passes, and the gain, that best predict choices between images left out in turn."""
    try:
        folds = split(pairs, "images", _INNER_FOLDS, seed, is_fair=is_fair)
    except BadInput:
        return 0, 1.0  # too little data to leave any out
    networks = [untrained(_ridge(components, pairs[train], choices[train], random)) for train, _ in folds]
    passes = [
        _train(network, components, pairs[train], choices[train], EPOCHS, random)
        for network, (train, _) in zip(networks, folds, strict=True)
    ]
    tests = [test for _, test in folds]
    found: list[tuple[float, float]] = []
    best = 0
    for _ in zip(*passes, strict=True):
        differences = np.concatenate([
            network.differences(components, pairs[test]) for network, test in zip(networks, tests, strict=True)
        ])  # fmt: skip
        biases = np.repeat([network.side_bias.item() for network in networks], [len(test) for test in tests])
        found.append(
            fit_gain(
                lambda gain, of=differences, bias=biases: gain * of + bias, choices[np.concatenate(tests)]
            )
        )
        best = int(np.argmin([loss for _, loss in found]))
        if len(found) > best + _PATIENCE:
            break
    return best, found[best][0]


def _untrained(
    components: Tensor,
    random: torch.Generator,
    build: Callable[[], _Network],
    shortcut: tuple[Tensor, float],
) -> _Network:
    """Build a network that is, before its trunk learns, the shortcut alone."""
    with drawing(random):
        network = build().to(components.device)
    weights, side_bias = shortcut
    network.shortcut.weight.copy_(weights)
    network.side_bias.data.fill_(side_bias)
    return network


def _train(
    network: _Network,
    components: Tensor,
    pairs: np.ndarray,
    choices: np.ndarray,
    epochs: int,
    random: torch.Generator,
) -> Iterator[None]:
    """Train a network; pause before the first pass over the trials, and after each."""
    yield
    optimiser = torch.optim.AdamW(
        [
            {"params": network.trunk.parameters(), "weight_decay": _WEIGHT_DECAY},
            {"params": [network.side_bias], "weight_decay": 0.0},
        ],
        lr=_LEARNING_RATE,
    )
    sides, targets = torch.from_numpy(pairs), torch.tensor(choices, dtype=torch.float32)
    for _ in range(epochs):
        for batch in torch.randperm(len(targets), generator=random).split(_BATCH):
            images, places = sides[batch].unique(return_inverse=True)
            mirrored = network.mirror and bool(torch.rand((), generator=random) < 0.5)
            utilities = network(components[images.to(components.device)], mirrored)
            logits = utilities[places[:, 1]] - utilities[places[:, 0]] + network.side_bias
            loss = binary_cross_entropy_with_logits(logits, targets[batch].to(logits.device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        yield


def _ridge(
    components: Tensor, pairs: np.ndarray, choices: np.ndarray, random: torch.Generator
) -> tuple[Tensor, float]:
    """Fit the shortcut and the side bias; the penalty is the one with the greatest marginal likelihood."""
    images, indices = np.unique(pairs, return_inverse=True)
    sides = indices.reshape(-1, 2)
    features = components[torch.from_numpy(images)].double().cpu()
    with drawing(random):
        left, lengths, right = torch.svd_lowrank(features, q=min(_MOST_DIRECTIONS, *features.shape), niter=4)
    coordinates = (left * lengths).numpy()
    posterior = laplace.fit(coordinates[sides[:, 1]] - coordinates[sides[:, 0]], choices)
    return (right @ torch.from_numpy(posterior.weights)).float()[None], posterior.side_bias


def _epoch(network: _Network, components: Tensor, *sets: tuple[np.ndarray, np.ndarray]) -> Epoch:
    """Return how a network does on its training trials and on held-out ones."""
    scores: list[float] = []
    for pairs, choices in sets:
        logits = network.differences(components, pairs) + network.side_bias.item()
        signs = np.where(choices == 1, 1.0, -1.0)
        scores += [float(-log_expit(signs * logits).mean()), float((signs * logits > 0).mean())]
    return Epoch(*scores)


@dataclass(frozen=True)
class _Trained:
    """The networks, and the session that they were trained in."""

    model: SiameseCNN
    data: Data

    @property
    def history(self) -> list[Epoch]:
        return self.model.history

    @property
    def side_bias(self) -> float:
        return self.model.side_bias

    def p_right(self, trials: np.ndarray) -> np.ndarray:
        shown, indices = np.unique(self.data.pairs[trials], return_inverse=True)
        with threads(1):
            return self.model.p_right(self.data.embeddings[shown], indices.reshape(-1, 2))


def _fit(data: Data, train: np.ndarray, test: np.ndarray | None) -> _Trained:
    with threads(1):  # as its training
        learned = learned_from(data, train)
    standards = data.kernels.centre, scale_of(data.kernels, learned.variances)
    train, choices = where_preferred(train, data.choices)
    followed = None if test is None else (data.pairs[test], data.choices[test])
    is_fair = None if data.is_fair is None else data.is_fair[train]
    model = fit(
        data.embeddings, data.pairs[train], choices, standards, data.images.layout, followed, data.seed, data.device,
        is_fair=is_fair,
    )  # fmt: skip
    return _Trained(model, data)


def _utilities(model: SiameseCNN, images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Return the utilities; how sure they are the networks do not tell."""
    utilities = model.utilities(images.embeddings)
    return utilities, np.full(len(utilities), np.nan)


SIAMESE_CNN = Model(
    "siamese_cnn",
    "siamese CNN",
    _fit,
    needs=("embeddings", "kernels"),
    predictor=lambda fitted, data: fitted.model,
    p_right=lambda model, images, pairs: model.p_right(images.embeddings, pairs),
    utilities=_utilities,
    is_relative=True,
    restore=lambda tensors, layout, _, device: restore(tensors, layout, device),
    is_slow=True,
    first_epoch=0,
)

"""Inner products of a session's embeddings, block by block: what learning a utility has to know of the images.

They are computed once a session; the utility then learns from any part of the trials, with any relevance of the
blocks, without going back to the embeddings, which have a hundred thousand dimensions.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse import csr_array
from torch import Tensor

from catpref._io.workers import workers
from catpref.models.standardised import by_slices, slice_width
from catpref.perception.embeddings import Blocks

_MOST_PRODUCTS = 1 << 28  # inner products that are kept, 1 GiB
_ENOUGH_IMAGES = 100  # to tell how much a dimension typically varies
_LEAST_SD = 0.1  # of a dimension, in units of what dimensions typically have
_MANY = 500  # items, for which every product of all dimensions would take too long
_HASHED = 512  # dimensions of a block that are left then
_SHELVES = 8  # on which the hashed blocks are added up, where their products are too many to be kept
_MOST_DIRECTIONS = 300  # in which a utility varies where there are many images
_COMPONENTS = 32  # that permuted images are described by
_LEAST_EIGENVALUE = 1e-6  # of the greatest: below is rounding


@dataclass(frozen=True)
class Kernels:
    """Inner products of a session's embeddings: all that learning from any part of its trials has to know.

    Attributes
    ----------
    centre, scale
        Mean and standard deviation of each dimension over the images shown, shape (dimensions,).
    blocks
        Which dimensions share their relevance.
    images
        The images of each trial as indices into the embeddings, shape (trials, 2).
    pairs
        The items of each trial, shape (trials, 2). Items are the images shown; or, where there are fewer
        trials than images, nothing at all (item 0, whose embedding is zero) and the differences of the trials.
    made_of
        How the items are made of the images shown, shape (items, images shown).
    grams
        Inner products of the items' standardised embeddings within each block, divided by its dimensions, shape
        (blocks, items, items), float32; empty if they are too many to be kept.
    features
        If so, the standardised embeddings, each block's hashed to a few dimensions, shape (blocks, hashed, items).
    """

    centre: np.ndarray
    scale: np.ndarray
    blocks: Blocks
    images: np.ndarray
    pairs: np.ndarray
    made_of: csr_array
    grams: np.ndarray
    features: np.ndarray

    def effects(self, items: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the inner products of items if every image were a dimension of its own, as `gram` does."""
        made_of = self.made_of[items]
        return (made_of @ made_of.T).toarray()

    def gram(self, variances: np.ndarray) -> np.ndarray:
        """Add up the blocks, each with its prior variance: shape (items, items), float64."""
        weights = torch.from_numpy(variances.astype(np.float32))
        if len(self.grams):
            summed = torch.tensordot(weights, torch.from_numpy(self.grams), dims=1)
        else:
            # Blocks are hashed once more: all of them together would make for ten times the products.
            features = torch.from_numpy(self.features)
            signs = np.random.default_rng(1).choice(np.array([-1, 1], np.float32), features.shape[:2])
            hashed = _zeros(_SHELVES, *features.shape[1:])
            for block, (own, weight) in enumerate(zip(features, weights.sqrt(), strict=True)):
                hashed[block % _SHELVES] += own * (weight * torch.from_numpy(signs[block]))[:, None]
            flat = hashed.flatten(0, 1)
            summed = torch.mm(flat.T, flat, out=_zeros(flat.shape[1], flat.shape[1]))
        return summed.numpy().astype(np.float64)

    @cached_property
    def plain_gram(self) -> np.ndarray:
        """The same where all dimensions count alike, and all together have a prior variance of 1."""
        sizes = np.bincount(self.blocks.of_dimension, minlength=len(self.blocks.factors))
        return self.gram(sizes / sizes.sum())

    def gram_of_block(self, block: int, items: np.ndarray) -> np.ndarray:
        """Return the inner products of some items within one block."""
        if len(self.grams):
            return self.grams[block][np.ix_(items, items)]
        features = self.features[block][:, items]
        return features.T @ features


def kernels_of(
    embeddings: np.ndarray, pairs: np.ndarray, blocks: Blocks | None = None, of_images: bool = False
) -> Kernels:
    """Compute what learning needs of the images; see `catpref.models.utility.fit` for the parameters.

    The items are the images shown, or, unless `of_images`, the trials, where these are fewer. The embeddings are
    standardised over all images shown, which says nothing of any choice. Of many items, each block's dimensions are
    added up with random signs into a few, which keeps inner products up to a little noise.

    References
    ----------
    Weinberger et al. (2009). Feature hashing for large scale multitask learning. ICML.
    """
    blocks = blocks or Blocks(np.zeros(embeddings.shape[1], int), np.ones((1, 1)), ("layer",))
    shown, indices = np.unique(pairs, return_inverse=True)
    sides = indices.reshape(-1, 2)
    by_images = of_images or len(shown) <= len(pairs)
    items = sides if by_images else np.column_stack([np.zeros(len(pairs), int), np.arange(1, len(pairs) + 1)])
    made_of = csr_array(np.eye(len(shown))) if by_images else _differences(sides, len(shown))
    count = int(items.max()) + 1
    storable = len(blocks.factors) * count**2 <= _MOST_PRODUCTS
    hashed = count > _MANY or not storable
    if len(shown) < len(embeddings):
        embeddings = embeddings[shown]
    whole, (left, right) = torch.from_numpy(embeddings), torch.from_numpy(sides.T)
    centre, scale = np.empty((2, embeddings.shape[1]), np.float32)
    floors = torch.from_numpy(_least_sds(embeddings[:_ENOUGH_IMAGES].astype(np.float32), blocks))
    sizes = np.bincount(blocks.of_dimension, minlength=len(blocks.factors))
    signs = _signs(embeddings.shape[1])
    of_blocks = _zeros(len(sizes), _HASHED if hashed else count, count)
    width = slice_width(len(embeddings))

    def add_up(run: slice) -> None:
        seen = np.zeros(len(sizes), int)
        for start in range(run.start, run.stop, width):
            columns = slice(start, min(start + width, run.stop))
            part = whole[:, columns].to(torch.float32, copy=True)
            mean = part.mean(0)
            part -= mean
            sd = part.square().mean(0).sqrt_().clamp_(min=floors[columns])
            centre[columns], scale[columns] = mean, sd
            if not by_images:
                part = torch.vstack([torch.zeros_like(part[:1]), part[right] - part[left]])
            of_column = blocks.of_dimension[columns]
            part *= signs[columns] / sd / torch.from_numpy(sizes[of_column]).sqrt()
            by_column = part.T.contiguous()  # a column's numbers side by side: picking some is copying rows
            for block in np.unique(of_column):
                own = by_column[np.flatnonzero(of_column == block)]
                if hashed:
                    places = torch.arange(len(own)).add_(int(seen[block])) % _HASHED
                    of_blocks[int(block)].index_add_(0, places, own)
                    seen[block] += len(own)
                else:
                    of_blocks[block].addmm_(own.T, own)

    with workers() as pool:
        deque(pool.map(add_up, _runs(blocks.of_dimension)), maxlen=0)
        if hashed and storable:
            of_blocks = _inner_products(of_blocks, pool)
    kept, none = of_blocks.numpy(), np.empty((0, 0, count), np.float32)
    grams, features = (kept, none) if storable else (none, kept)
    return Kernels(centre, scale, blocks, pairs, items, made_of, grams, features)


def standards(embeddings: np.ndarray, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each dimension, which has a floor, shape (dimensions,) each."""
    centre, scale = np.empty((2, embeddings.shape[1]), np.float32)
    floors = _least_sds(embeddings[:_ENOUGH_IMAGES].astype(np.float32), blocks)

    def measure(columns: slice, part: Tensor) -> None:
        centre[columns] = part.mean(0)
        scale[columns] = part.std(0, correction=0).clamp_(min=torch.from_numpy(floors[columns]))

    deque(by_slices(embeddings, np.zeros_like(centre), np.ones_like(scale), measure), maxlen=0)
    return centre, scale


def _signs(dimensions: int) -> Tensor:
    """Draw a sign for each dimension, the same each time."""
    return torch.from_numpy(np.random.default_rng(0).choice(np.array([-1, 1], np.float32), dimensions))


def _inner_products(features: Tensor, pool: Executor) -> Tensor:
    """Return the inner products of the items' features within each block, shape (blocks, items, items)."""
    grams = _zeros(len(features), *features.shape[2:] * 2)
    # NumPy sees that these are symmetric, and torch does not.
    deque(
        pool.map(lambda own, gram: np.matmul(own.T, own, out=gram), features.numpy(), grams.numpy()), maxlen=0
    )
    return grams


def _least_sds(some: np.ndarray, blocks: Blocks) -> np.ndarray:
    """Return the least standard deviation that is taken of each dimension, by what those of its kind typically have.

    A dimension that hardly varies must not be blown up: what is flat in drawn faces is not in their JPEGs.
    """
    is_late = blocks.of_late[blocks.of_dimension]
    least = np.empty(some.shape[1], np.float32)
    for kind in (is_late, ~is_late):
        if kind.any():
            # Rounding: that of the mean of pictures that are all the same.
            of_kind = some[:, kind]
            rounding = np.finfo(np.float32).eps * max(of_kind.max(), -of_kind.min())
            least[kind] = max(_LEAST_SD * float(of_kind.std(0).mean()), float(rounding)) or 1.0
    return least


def _differences(sides: np.ndarray, images: int) -> csr_array:
    """Return nothing at all, then right minus left of each trial, as combinations of images."""
    trials = np.arange(1, len(sides) + 1)
    signs = np.repeat([1.0, -1.0], len(sides))
    rows, columns = np.append(trials, trials), np.append(sides[:, 1], sides[:, 0])
    return csr_array((signs, (rows, columns)), shape=(len(sides) + 1, images))


def _zeros(*shape: int) -> Tensor:
    """Make an array in large pages of memory, which NumPy asks for and torch does not: it is there much sooner."""
    return torch.from_numpy(np.zeros(shape, np.float32))


def _runs(of_dimension: np.ndarray) -> list[slice]:
    """Cut the dimensions where no block goes on: runs that several threads can add up without meeting."""
    last = np.zeros(of_dimension.max() + 1, int)
    last[of_dimension] = np.arange(len(of_dimension))
    ends = np.flatnonzero(np.maximum.accumulate(last[of_dimension]) == np.arange(len(of_dimension))) + 1
    return [slice(start, end) for start, end in pairwise([0, *ends.tolist()])]


def leading_components(embeddings: np.ndarray, kernels: Kernels) -> np.ndarray:
    """Return the embedding's leading principal components over the session's images, shape (images, components).

    All dimensions are standardised and count alike. Of many images, the inner products are kept up to a little noise.
    """
    images, dimensions = embeddings.shape
    signs = _signs(dimensions)
    places = torch.arange(dimensions) % _HASHED

    def products(columns: slice, part: Tensor) -> Tensor:
        if images <= _HASHED:
            return part @ part.T
        return torch.zeros(images, _HASHED).index_add_(1, places[columns], part.mul_(signs[columns]))

    summed = (
        sum(by_slices(embeddings, kernels.centre, kernels.scale, products), torch.zeros(())).double().numpy()
    )
    values, vectors = np.linalg.eigh(summed if images <= _HASHED else summed.T @ summed)
    leading = vectors[:, -_COMPONENTS:]
    leading = (
        summed @ leading if images > _HASHED else leading * np.sqrt(np.maximum(values[-_COMPONENTS:], 0))
    )
    # Else rounding decides on their signs, and with these, which tastes are drawn of simulated observers.
    leading = leading * np.sign(leading[np.abs(leading).argmax(0), np.arange(leading.shape[1])])
    return leading / np.sqrt(dimensions)


def incidence_of(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the items in pairs, and how each pair's difference is made of these, shape (pairs, items)."""
    items, indices = np.unique(pairs, return_inverse=True)
    return items, right_minus_left(np.eye(len(items)), indices.reshape(-1, 2))


def squared_distances(gram: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the squared distance of the two items of each pair, by their inner products."""
    left, right = pairs.T
    return gram[left, left] + gram[right, right] - 2 * gram[left, right]


def right_minus_left(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Subtract the left rows of pairs from the right ones."""
    return values[pairs[:, 1]] - values[pairs[:, 0]]


def of_differences(of_items: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return inner products, or covariances, of the differences of pairs, given those of the items."""
    return right_minus_left(right_minus_left(of_items, pairs).T, pairs)


def directions(gram: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Find combinations of items that are orthonormal directions and span the trials' differences.

    Returns
    -------
    ndarray
        Shape (items, rank): ``gram @`` it are the items' coordinates.
    """
    items, indices = np.unique(pairs, return_inverse=True)
    among = gram[np.ix_(items, items)]
    if len(pairs) >= len(items):
        values, vectors = _greatest(among)
    else:  # fewer trials than items: the trials' differences span less
        pairs = indices.reshape(-1, 2)
        values, of_trials = _greatest(of_differences(among, pairs))
        vectors = np.zeros((len(items), of_trials.shape[1]))
        np.add.at(vectors, pairs[:, 1], of_trials)
        np.add.at(vectors, pairs[:, 0], -of_trials)
    kept = values > values[-1] * _LEAST_EIGENVALUE
    kept[:-_MOST_DIRECTIONS] = False
    combined = np.zeros((len(gram), kept.sum()))
    combined[items] = vectors[:, kept] / np.sqrt(values[kept])
    return combined


def _greatest(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the greatest eigenvalues, in rising order, and their vectors; of a large matrix, approximately."""
    if len(gram) <= 2000:
        return np.linalg.eigh(gram)  # which lets other threads go on; scipy's does not
    return greatest(lambda onto: gram @ onto, len(gram), _MOST_DIRECTIONS)


def greatest(
    times: Callable[[np.ndarray], np.ndarray], size: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return about the greatest eigenvalues of a symmetric matrix, in rising order, and their vectors.

    Parameters
    ----------
    times
        Multiplies the matrix by one of shape (size, columns).
    size
        Its rows.
    count
        How many eigenvalues; all, if there are no more rows.

    References
    ----------
    Halko, Martinsson & Tropp (2011). Finding structure with randomness. SIAM Review 53(2), algorithm 4.4.
    """
    basis = np.random.default_rng(0).standard_normal((size, min(count, size)))
    for _ in range(3):
        basis, _ = np.linalg.qr(times(basis))
    values, vectors = eigh(basis.T @ times(basis))
    return values, basis @ vectors

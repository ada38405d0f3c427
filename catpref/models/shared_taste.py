"""Several people's tastes: what they share, and how each departs from it.

u_p(x) = scale_p · (shared(x) + personal_p(x)), where scale_p tells how consistently a person chooses. Both tastes are
linear in the embedding plus an image effect, and Gaussian processes over the same inner products, with four variances
(shared, personal, and the image effects of each), that of the side biases, and the part that late stages have beside
layers, found by marginal likelihood for all people together. Someone with few trials is predicted from what is
shared, and departs from it as fast as their own choices say.

A person's trials see the shared utilities of the images through the noise of that person's own departure. With each
person's part integrated out in closed form, what remains are matrices of one person's trials, and one of the images:
time is linear in the people.

References
----------
Rasmussen & Williams (2006). Gaussian Processes for Machine Learning, sections 3.4 and 5.5.
Birlutiu, Groot & Heskes (2010). Multi-task preference learning with an application to hearing aid personalization.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from catpref.models import relevance
from catpref.models.answers import ENOUGH, MOST_SWEEPS, SCALE_SD, Sweep, chance, inverse_of
from catpref.models.kernels import Kernels, of_differences, right_minus_left
from catpref.models.newton import laplace_covariance
from catpref.models.people import People, Person, Variances, add_up, mixed, person_of

# Mean and standard deviation of the log variances before any choice, in squared logits: shared, personal, image
# effects of all people and of each, side bias. Then standard deviation of the log odds of late stages.
USUAL = np.log([0.5, 0.3, 0.2, 0.5, 0.1])
_SD = 1.5
_ODDS_SD = 2.0
_MOST_PEOPLE, _MOST_IMAGES = 20, 1000  # enough to tell the variances
_STEPS = 20
_SWEEPS_OF_POINT = 4  # of what stands for the choices, for one point
_SETTLED = 0.5  # of the log evidence that this still changes
_FLAT = 1e-4  # of the log evidence, that a step still gains
_STEP = 0.1  # of log variances
_LEAST_EFFECT = 1e-4  # of the variance of an image's utility


def learn(
    kernels: Kernels,
    who: np.ndarray,
    choices: np.ndarray,
    train: np.ndarray,
    variances: Variances | None = None,
    how_sure: bool = True,
) -> People:
    """Learn the shared taste, and each person's own, from some trials of a session.

    Parameters
    ----------
    kernels
        Of the session, whose items are the images.
    who
        The person of each trial, from 0, shape (trials,).
    choices
        0 = left, 1 = right, 0.5 = no preference, of all the session's trials, shape (trials,).
    train
        The trials to learn from, as indices.
    variances
        Of the population; None takes those with the greatest marginal likelihood of the training trials.
    how_sure
        Whether it is found, too, how sure these are, which takes half as long again.
    """
    typical = relevance.typical_variances(kernels.blocks)
    of_late = kernels.blocks.of_late
    sources = np.array([own / (own.sum() or 1.0) for own in (typical * of_late, typical * ~of_late)])
    grams, effects = np.stack([kernels.gram(own) for own in sources]), kernels.effects()
    log_covariance, count = None, int(who.max()) + 1
    if variances is None:
        telling = _telling(kernels.pairs, who, train)
        images, pairs = np.unique(kernels.pairs[telling], return_inverse=True)
        within = np.ix_(images, images)
        parts, own_effects = np.stack([gram[within] for gram in grams]), effects[within]
        some = _people(parts, own_effects, pairs.reshape(-1, 2), who[telling], choices[telling], count)
        late = float(typical[of_late].sum())
        variances, log_covariance = _most_likely(
            parts, own_effects, [one for one in some if len(one.choices)], late, how_sure
        )
    people = _people(grams, effects, kernels.pairs[train], who[train], choices[train], count)
    gram, blocks = mixed(grams, variances.late), mixed(sources, variances.late)
    learned = _given(gram, effects, people, variances)
    return People(kernels, blocks, variances, log_covariance, who, gram, *learned, people)


def _telling(pairs: np.ndarray, who: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return the trials that tell the variances: of some people, or, where images are many, of all between some.

    Time grows with the third power of a person's trials, and of the images.
    """
    images, people = np.unique(pairs[train]), np.unique(who[train])
    if len(images) > _MOST_IMAGES:
        # In the order in which they are first seen in shuffled trials, so that many of these are between them.
        shuffled = np.random.default_rng(0).permutation(train)
        images, first = np.unique(pairs[shuffled], return_index=True)
        some = images[np.argsort(first)[:_MOST_IMAGES]]
        return train[np.isin(pairs[train], some).all(1)]
    return train[np.isin(who[train], people[:: -(-len(people) // _MOST_PEOPLE)])]


def _people(
    grams: np.ndarray,
    effects: np.ndarray,
    pairs: np.ndarray,
    who: np.ndarray,
    choices: np.ndarray,
    count: int,
) -> list[Person]:
    """Return the trials of each of so many people, in the order of `who`."""
    return [person_of(grams, effects, pairs[who == one], choices[who == one]) for one in range(count)]


def alone(people: People) -> People:
    """Learn each person's taste again from their own trials, as if nothing were shared.

    Their prior has the variance that the shared and the personal taste have together.
    """
    given, personal = people.variances, np.zeros_like(people.personal)
    together = replace(
        given,
        shared=0.0,
        personal=given.shared + given.personal,
        shared_effect=0.0,
        personal_effect=given.shared_effect + given.personal_effect,
    )
    trials = [replace(one) for one in people.trials]
    pulls = [
        one.settle(one.departure(together), together.side_bias, np.zeros(len(one.choices))) for one in trials
    ]
    personal, biases = _of_each(trials, pulls, together, len(people.gram))
    return replace(
        people, variances=together, log_covariance=None, shared=np.zeros_like(people.shared),
        certainty=np.zeros_like(people.certainty), personal=personal, side_biases=biases, trials=trials,
    )  # fmt: skip


def shared_alone(people: People) -> People:
    """Leave out every personal departure, of which the prior's uncertainty remains."""
    return replace(people, personal=np.zeros_like(people.personal))


def _given(
    gram: np.ndarray, effects: np.ndarray, people: Sequence[Person], variances: Variances
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Learn everybody's utilities under given variances: `shared`, `certainty`, `personal`, `side_biases`.

    Of images that nobody saw, the choices say nothing: the search is among the others.
    """
    shared, certainty = np.zeros(len(gram)), np.zeros_like(gram)
    images = np.unique(np.concatenate([one.pairs for one in people]))
    within = np.ix_(images, images)
    for one in people:
        one.pairs = np.searchsorted(images, one.pairs)
    found = _expect(gram[within], effects[within], people, variances)
    shared[images], certainty[within] = found.weights, found.certainty
    pulls = [one.pull(right_minus_left(found.mean, one.pairs)) for one in people]
    for one in people:
        one.pairs = images[one.pairs]
    return shared, certainty, *_of_each(people, pulls, variances, len(gram))


def _of_each(
    people: Sequence[Person], pulls: Sequence[np.ndarray], variances: Variances, items: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return `personal` and `side_biases` of `People`, given the pull of each one's trials."""
    personal = np.zeros((items, len(people)))
    for of_items, one, pull in zip(personal.T, people, pulls, strict=True):
        add_up(of_items, one.pairs, one.scale * pull)
    return personal, np.array([variances.side_bias * pull.sum() for pull in pulls])


@dataclass(frozen=True)
class _Posterior:
    """What is known of the shared utilities, the choices made Gaussian.

    Attributes
    ----------
    mean, covariance
        Shapes (items,) and (items, items).
    information, shift
        What the choices say: of which precision, and that times which mean.
    log_determinant
        Of identity + information × prior covariance.
    """

    mean: np.ndarray
    covariance: np.ndarray
    information: np.ndarray
    shift: np.ndarray
    log_determinant: float

    @property
    def weights(self) -> np.ndarray:
        """What the prior covariance is multiplied by to give the mean."""
        return self.shift - self.information @ self.mean

    @property
    def certainty(self) -> np.ndarray:
        """(prior covariance + information⁻¹)⁻¹."""
        return self.information - self.information @ self.covariance @ self.information

    def sweep(self, one: Person) -> Sweep:
        """Find what would better stand for a person's choices."""
        return one.sweep(right_minus_left(self.mean, one.pairs), of_differences(self.covariance, one.pairs))


def _prior(gram: np.ndarray, effects: np.ndarray, variances: Variances) -> tuple[np.ndarray, float]:
    """Return the inverse of the prior covariance of the shared utilities, and its log determinant.

    It has one whatever the images: each is told from all others by an effect of its own, be it small.
    """
    covariance = variances.of_shared(gram, effects)
    covariance.flat[:: len(gram) + 1] += _LEAST_EFFECT * covariance.diagonal().mean()
    return inverse_of(covariance)


def _posterior(prior: tuple[np.ndarray, float], people: Sequence[Person], variances: Variances) -> _Posterior:
    """Combine what people's choices, made Gaussian, say of the shared utilities."""
    information, shift = np.zeros_like(prior[0]), np.zeros(len(prior[0]))
    for one in people:
        one.integrate_out(one.departure(variances), variances.side_bias)
        seen = np.zeros((len(shift), len(one.choices)))
        add_up(seen, one.pairs, one.scale * one.precision)
        shift += seen @ one.sites[1]
        add_up(information, one.pairs, one.scale * seen.T)
    covariance, log_determinant = inverse_of(prior[0] + information)
    return _Posterior(covariance @ shift, covariance, information, shift, log_determinant + prior[1])


def _expect(
    gram: np.ndarray, effects: np.ndarray, people: Sequence[Person], variances: Variances
) -> _Posterior:
    """Make all choices Gaussian by expectation propagation, and find how consistently each person chooses.

    At the mode, where Laplace's method makes them so, a binary choice says less than it does: variances of tastes,
    those of single people above all, would be found too small by half.
    """
    prior = _prior(gram, effects, variances)
    for _ in range(MOST_SWEEPS):
        found = _posterior(prior, people, variances)
        # On average: someone who is never in doubt may have any scale from some on.
        if np.mean([one.advance(found.sweep(one)) for one in people]) < ENOUGH:
            break
    return _posterior(prior, people, variances)


def _most_likely(
    grams: np.ndarray, effects: np.ndarray, people: Sequence[Person], late: float, how_sure: bool
) -> tuple[Variances, np.ndarray | None]:
    """Find the variances with the greatest marginal likelihood, the choices made Gaussian in turn.

    Given what stands for the choices, expectation propagation's evidence has the gradient of a Gaussian process's.

    Parameters
    ----------
    grams, effects
        Inner products of the items within late stages and layers, shape (2, items, items), and of image effects.
    people
        Their trials.
    late
        The part that late stages typically have; 0 or 1 where the embedding has nothing else.
    how_sure
        Whether the covariance is asked for.

    Returns
    -------
    Variances
        The most probable ones.
    ndarray or None
        The posterior covariance of the logarithms of all but the last, shape (5, 5), if asked for.
    """
    both = 0 < late < 1
    usual = np.append(USUAL, logit(late)) if both else USUAL
    sd = np.append(np.full(5, _SD), _ODDS_SD)[: len(usual)]

    def variances(point: np.ndarray) -> Variances:
        return Variances(*np.exp(point[:5]).tolist(), late=float(expit(point[5])) if both else late)

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        given = variances(point)
        for one, scale in zip(people, np.exp(point[len(usual) :]), strict=True):
            one.scale = float(scale)
        value, by_variances, by_scales = _log_likelihood(grams, effects, people, given)
        by_variances *= [*np.exp(point[:5]), given.late * (1 - given.late)]
        apart = (point - middle) / sd
        slope = np.append(by_variances[: len(usual)], by_scales)
        return float(np.square(apart).sum() / 2 - value), apart / sd - slope

    def slope(point: np.ndarray) -> np.ndarray:
        return loss(np.append(point, found[len(usual) :]))[1][: len(usual)]

    for one in people:  # where variances are small, as the search begins, this is close
        one.sites = chance(one.choices)
    middle, sd = np.append(usual, np.zeros(len(people))), np.append(sd, np.full(len(people), SCALE_SD))
    found = minimize(loss, middle, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS, "ftol": _FLAT}).x
    if not how_sure:
        return variances(found), None
    return variances(found), laplace_covariance(slope, found[: len(usual)], _STEP, sd[: len(usual)])[:5, :5]


def _log_likelihood(
    grams: np.ndarray, effects: np.ndarray, people: Sequence[Person], variances: Variances
) -> tuple[float, np.ndarray, np.ndarray]:
    """Find the log marginal likelihood of the choices, and improve what stands for them until it comes to rest.

    Returns
    -------
    float
        By expectation propagation, as far as the sites have come to rest.
    ndarray
        Its gradient by the variances, shape (6,): given the sites, that of a Gaussian process's.
    ndarray
        Its gradient by the logarithm of each person's scale.
    """
    prior = _prior(mixed(grams, variances.late), effects, variances)
    value, count = np.inf, 0
    while True:
        before, found = value, _posterior(prior, people, variances)
        sweeps = [found.sweep(one) for one in people]
        for one, each in zip(people, sweeps, strict=True):
            one.sites = each.sites
        value, count = sum(each.log_evidence for each in sweeps) - found.log_determinant / 2, count + 1
        if count == _SWEEPS_OF_POINT or abs(value - before) < _SETTLED:
            break
    outer = np.outer(found.weights, found.weights) - found.certainty
    of_late, of_layers = np.tensordot(grams, outer, 2) / 2
    slope = np.zeros(6)
    slope[0], slope[2] = mixed(np.array([of_late, of_layers]), variances.late), np.vdot(outer, effects) / 2
    slope[5] = variances.shared * (of_late - of_layers)
    for one, each in zip(people, sweeps, strict=True):
        outer = np.outer(each.pull, each.pull) - one.precision + each.about @ one.precision
        own = outer.astype(np.float32)
        of_late, of_layers = one.scale**2 * np.tensordot(one.tastes, own, 2) / 2
        slope[1] += mixed(np.array([of_late, of_layers]), variances.late)
        slope[3] += one.scale**2 * float(np.vdot(one.effects, own)) / 2
        slope[4] += outer.sum() / 2
        slope[5] += variances.personal * (of_late - of_layers)
    return float(value), slope, np.array([each.slope for each in sweeps])

// What catpref/adaptive does, in the browser: the same functions with the same names and the same arithmetic, so that the
// same answers lead to the same pairs. Only arguments come in and only results go out, since it runs in a worker.
// Matrices are Float64Arrays, row after row.

// ---- prior.py -----------------------------------------------------------------------------------------------

// Read what `write_prior` wrote: the length of a header, the header in JSON, and numbers.
function readPrior(content) {
  const start = 8 + Number(new DataView(content).getUint32(0, true)); // a header has less than 4 GiB
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 8, start - 8)));
  const told = header.__metadata__;
  const [from, to] = header.features.data_offsets;
  const features = new Uint16Array(content.slice(start + from, start + to));
  const mean = new Float32Array(content.slice(...header.mean.data_offsets.map((place) => start + place)));
  return {
    images: JSON.parse(told.images),
    features: Float64Array.from(features, half),
    dimensions: header.features.shape[1],
    mean: Float64Array.from(mean),
    side_bias_variance: Number(told.side_bias_variance),
    found: { answers: null, log_scale: 0 }, // the scale of a taste that was found last, and from which answers
  };
}

// The number that 16 bits stand for.
function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const size = exponent === 0 ? fraction * Math.pow(2, -24) : (1024 + fraction) * Math.pow(2, exponent - 25);
  return bits & 0x8000 ? -size : size;
}

// ---- learner.py ---------------------------------------------------------------------------------------------

const LOG_SCALES = [-1.0, -0.5, 0.0, 0.5, 1.0];
const LOG_SCALE_SD = 0.5;
const FIRST_TRIALS = 20;
const MOST_STEPS = 50;
const ENOUGH = 1e-10;

// Learn a taste from answers, to the end.
function learn(prior, pairs, choices) {
  return finish(learning(prior, pairs, choices));
}

// Likewise, with a pause after each scale of the taste that is tried.
function* learning(prior, pairs, choices) {
  const d = prior.dimensions, size = d + 1;
  let first = FIRST_TRIALS;
  while (2 * first <= choices.length) {
    first *= 2;
  }
  const enough = choices.length >= FIRST_TRIALS;
  const scale = enough ? yield* logScale(prior, pairs.slice(0, first), choices.slice(0, first)) : 0;
  const { weights, factor, sds } = given(prior, pairs, choices, scale);
  const covariance = inverse(factor, size);
  return {
    weights: weights.slice(0, d).map((value, k) => value * sds[k]),
    side_bias: weights[d] * sds[d],
    covariance: covariance.map((value, place) => value * sds[Math.floor(place / size)] * sds[place % size]),
    scale: sds[0],
  };
}

// The most probable of the scales, by its logarithm.
function* logScale(prior, pairs, choices) {
  const answers = [pairs, Array.from(choices)].join(" ");
  if (prior.found.answers !== answers) {
    let best = LOG_SCALES[0], highest = -Infinity;
    for (const scale of LOG_SCALES) {
      const probability = given(prior, pairs, choices, scale).evidence - Math.pow(scale / LOG_SCALE_SD, 2) / 2;
      [best, highest] = probability > highest ? [scale, probability] : [best, highest];
      yield;
    }
    prior.found = { answers: answers, log_scale: best };
  }
  return prior.found.log_scale;
}

// What `modeOf` returns at a scale of the taste, and the prior's standard deviations.
function given(prior, pairs, choices, scale) {
  const d = prior.dimensions, size = d + 1;
  const sds = new Float64Array(size).fill(Math.exp(scale));
  sds[d] = Math.sqrt(prior.side_bias_variance);
  const design = new Float64Array(pairs.length * size), offsets = new Float64Array(pairs.length);
  pairs.forEach(([left, right], trial) => {
    for (let k = 0; k < d; k += 1) {
      design[trial * size + k] = (prior.features[right * d + k] - prior.features[left * d + k]) * sds[k];
    }
    design[trial * size + d] = sds[d];
    offsets[trial] = prior.mean[right] - prior.mean[left];
  });
  return Object.assign(modeOf(design, offsets, choices, size), { sds: sds });
}

// The mode of standard normal weights, the Cholesky factor of its precision, and the log evidence.
function modeOf(design, offsets, choices, size) {
  let weights = new Float64Array(size), factor = null;
  let loss = lossOf(weights, design, offsets, choices);
  for (let step = 0; step < MOST_STEPS; step += 1) {
    const pRight = logitsOf(weights, design, offsets).map(expit);
    const gradient = Float64Array.from(weights);
    pRight.forEach((p, trial) => {
      for (let k = 0; k < size; k += 1) {
        gradient[k] -= design[trial * size + k] * (choices[trial] - p);
      }
    });
    factor = cholesky(precisionOf(design, pRight, size), size);
    const along = solve(factor, gradient, size);
    if (dot(gradient, along) < ENOUGH) {
      break;
    }
    let length = 1, next = null, nextLoss = Infinity;
    for (;;) {
      next = weights.map((value, k) => value - length * along[k]);
      nextLoss = lossOf(next, design, offsets, choices);
      if (!(nextLoss > loss && length > 1e-6)) {
        break;
      }
      length /= 2;
    }
    weights = next;
    loss = nextLoss;
  }
  let logs = 0;
  for (let k = 0; k < size; k += 1) {
    logs += Math.log(factor[k * size + k]);
  }
  return { weights: weights, factor: factor, evidence: -loss - logs };
}

function lossOf(weights, design, offsets, choices) {
  const gained = logitsOf(weights, design, offsets).map((logit, trial) => {
    const top = Math.max(0, logit); // the logarithm of 1 + exp(logit), without an overflow
    return choices[trial] * logit - top - Math.log1p(Math.exp(-Math.abs(logit)));
  });
  return dot(weights, weights) / 2 - gained.reduce((sum, value) => sum + value, 0);
}

function logitsOf(weights, design, offsets) {
  const size = weights.length;
  return offsets.map((offset, trial) => offset + dot(design, weights, size, trial * size));
}

function expit(logit) {
  return 1 / (1 + Math.exp(-logit));
}

// The lower half of the identity and what the trials add to it; four trials at a time, which takes a third of the time.
function precisionOf(design, pRight, size) {
  const precision = new Float64Array(size * size);
  const trials = Math.ceil(pRight.length / 4) * 4; // up to three of them empty
  const rows = new Float64Array(trials * size), weights = new Float64Array(trials);
  rows.set(design);
  weights.set(pRight.map((p) => p * (1 - p)));
  for (let a = 0; a < rows.length; a += 4 * size) {
    const b = a + size, c = b + size, d = c + size;
    const [p, q, r, s] = weights.subarray(a / size, a / size + 4);
    for (let i = 0; i < size; i += 1) {
      const pa = p * rows[a + i], qb = q * rows[b + i], rc = r * rows[c + i], sd = s * rows[d + i];
      for (let j = 0, place = i * size; j <= i; j += 1, place += 1) {
        precision[place] += pa * rows[a + j] + qb * rows[b + j] + rc * rows[c + j] + sd * rows[d + j];
      }
    }
  }
  for (let k = 0; k < size; k += 1) {
    precision[k * size + k] += 1;
  }
  return precision;
}

// ---- linear algebra -----------------------------------------------------------------------------------------

// The inner product of `length` numbers, from place i of one vector and place j of the other on. Four sums at a time,
// since a processor need not wait for one before it adds to the next.
function dot(one, other, length = one.length, i = 0, j = 0) {
  const most = length - length % 4;
  let a = 0, b = 0, c = 0, d = 0;
  for (let k = 0; k < most; k += 4) {
    a += one[i + k] * other[j + k];
    b += one[i + k + 1] * other[j + k + 1];
    c += one[i + k + 2] * other[j + k + 2];
    d += one[i + k + 3] * other[j + k + 3];
  }
  for (let k = most; k < length; k += 1) {
    a += one[i + k] * other[j + k];
  }
  return a + b + c + d;
}

// The lower triangle whose product with itself is a matrix, of which the lower half is read.
function cholesky(matrix, size) {
  const factor = new Float64Array(size * size);
  for (let i = 0; i < size; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      const left = matrix[i * size + j] - dot(factor, factor, j, i * size, j * size);
      factor[i * size + j] = i === j ? Math.sqrt(left) : left / factor[j * size + j];
    }
  }
  return factor;
}

// Solve a system of equations by the Cholesky factor of its matrix.
function solve(factor, vector, size) {
  const solved = Float64Array.from(vector);
  for (let i = 0; i < size; i += 1) {
    for (let k = 0; k < i; k += 1) {
      solved[i] -= factor[i * size + k] * solved[k];
    }
    solved[i] /= factor[i * size + i];
  }
  for (let i = size - 1; i >= 0; i -= 1) {
    solved[i] /= factor[i * size + i];
    for (let k = 0; k < i; k += 1) {
      solved[k] -= factor[i * size + k] * solved[i];
    }
  }
  return solved;
}

// The inverse of a matrix, of which this is the Cholesky factor.
function inverse(factor, size) {
  const inverted = new Float64Array(size * size);
  for (let column = 0; column < size; column += 1) {
    const unit = new Float64Array(size);
    unit[column] = 1;
    inverted.set(solve(factor, unit, size), column * size);
  }
  return inverted;
}

// The product of a matrix and the transpose of another, whose rows have `length` numbers.
function timesTransposed(one, other, length) {
  const rows = one.length / length, columns = other.length / length;
  const product = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i += 1) {
    for (let j = 0; j < columns; j += 1) {
      product[i * columns + j] = dot(one, other, length, i * length, j * length);
    }
  }
  return product;
}

// Some rows of a matrix.
function rowsOf(matrix, rows, length) {
  const picked = new Float64Array(rows.length * length);
  rows.forEach((row, place) => picked.set(matrix.subarray(row * length, row * length + length), place * length));
  return picked;
}

// The covariance of the weights, without the side bias.
function covarianceOf(posterior) {
  const d = posterior.weights.length;
  const covariance = new Float64Array(d * d);
  for (let i = 0; i < d; i += 1) {
    covariance.set(posterior.covariance.subarray(i * (d + 1), i * (d + 1) + d), i * d);
  }
  return covariance;
}

// ---- selection.py -------------------------------------------------------------------------------------------

const CANDIDATES = 300;
const LOGISTIC_VARIANCE = Math.pow(1.7, 2);

// The mean outer product of the feature differences of two images; it is kept with the prior.
function spread(prior) {
  if (prior.spread === undefined) {
    const d = prior.dimensions, images = prior.images.length;
    const columns = new Float64Array(d * images), mean = new Float64Array(d);
    prior.features.forEach((value, place) => {
      columns[place % d * images + Math.floor(place / d)] = value;
      mean[place % d] += value / images;
    });
    const own = columns.map((value, place) => value - mean[Math.floor(place / images)]);
    prior.spread = timesTransposed(own, own, images).map((value) => 2 * value / images);
  }
  return prior.spread;
}

// Choose the next pair: the left and the right image.
function nextPair(prior, posterior, candidates, seed, trial) {
  const drawn = scrambled(prior.images.length, seed, trial);
  const some = Array.from(candidates).sort((one, other) => drawn[one] - drawn[other]).slice(0, CANDIDATES);
  const gains = expectedGains(prior, posterior, some);
  let best = 0;
  gains.forEach((gain, place) => {
    best = gain > gains[best] ? place : best;
  });
  const left = some[Math.floor(best / some.length)], right = some[best % some.length];
  return (drawn[left] ^ drawn[right]) & 1 ? [left, right] : [right, left];
}

// What an answer about each pair is expected to take off the variance, -Infinity for an image and itself.
function expectedGains(prior, posterior, images) {
  const d = prior.dimensions, count = images.length;
  const features = rowsOf(prior.features, images, d);
  const spreadOut = timesTransposed(features, covarianceOf(posterior), d);
  const variances = timesTransposed(spreadOut, features, d);
  const taught = timesTransposed(timesTransposed(spreadOut, spread(prior), d), spreadOut, d);
  const ofDifference = (products, i, j) =>
    products[i * count + i] + products[j * count + j] - 2 * products[i * count + j];
  const utilities = images.map((image, place) =>
    prior.mean[image] + dot(features, posterior.weights, d, place * d));
  const ofSideBias = posterior.covariance[posterior.covariance.length - 1];
  const gains = new Float64Array(count * count).fill(-Infinity);
  for (let i = 0; i < count; i += 1) {
    for (let j = i + 1; j < count; j += 1) {
      const variance = ofDifference(variances, i, j) + ofSideBias, wide = variance + LOGISTIC_VARIANCE;
      const apart = utilities[i] - utilities[j];
      const information = Math.exp(-apart * apart / (2 * wide)) / Math.sqrt(2 * Math.PI * wide);
      const gain = information * ofDifference(taught, i, j) / (1 + information * variance);
      gains[i * count + j] = gain;
      gains[j * count + i] = gain;
    }
  }
  return gains;
}

// A number for each image that looks drawn at random.
function scrambled(images, seed, trial) {
  return Uint32Array.from({ length: images }, (_, image) => {
    let mixed = Math.imul(image, 0x9E3779B1);
    for (const key of [seed, trial]) {
      mixed ^= key;
      mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85EBCA6B);
      mixed = Math.imul(mixed ^ (mixed >>> 13), 0xC2B2AE35);
      mixed ^= mixed >>> 16;
    }
    return mixed;
  });
}

// ---- progress.py --------------------------------------------------------------------------------------------

const NODES = 21;

// The share of the accuracy above chance that is reached, of what knowing the taste would reach.
function gained(prior, posterior, pairs) {
  const apart = differencesOf(prior, posterior, pairs), nodes = hermite(NODES);
  let reached = 0, known = 0;
  apart.mean.forEach((mean, pair) => {
    reached += Math.abs(expectedPRight(mean, apart.sd[pair]) - 0.5);
    nodes.forEach(([node, weight]) => {
      known += weight * Math.abs(expit(mean + apart.sd[pair] * node) - 0.5);
    });
  });
  return known > 0 ? reached / known : 0;
}

function expectedPRight(mean, sd) {
  return expit(mean / Math.sqrt(1 + Math.PI / 8 * sd * sd));
}

// Mean and standard deviation of the utility differences of pairs, right minus left.
function differencesOf(prior, posterior, pairs) {
  const d = prior.dimensions, covariance = covarianceOf(posterior);
  const mean = new Float64Array(pairs.length), sd = new Float64Array(pairs.length);
  pairs.forEach(([left, right], pair) => {
    const apart = new Float64Array(d);
    for (let k = 0; k < d; k += 1) {
      apart[k] = prior.features[right * d + k] - prior.features[left * d + k];
    }
    mean[pair] = prior.mean[right] - prior.mean[left] + dot(apart, posterior.weights);
    sd[pair] = Math.sqrt(Math.max(0, dot(timesTransposed(apart, covariance, d), apart)));
  });
  return { mean: mean, sd: sd };
}

// Nodes and weights (which add up to 1) for the mean of a function of a standard normal number: the zeros of the Hermite
// polynomial of this degree.
function hermite(degree) {
  const values = (x) => { // the polynomials of this degree and the one below, normalised
    let below = 0, value = 1;
    for (let n = 0; n < degree; n += 1) {
      [below, value] = [value, (x * value - Math.sqrt(n) * below) / Math.sqrt(n + 1)];
    }
    return [below, value];
  };
  const found = [], width = 0.1; // less than any two zeros are apart
  for (let start = -2 * Math.sqrt(degree) - width / 2; start < 2 * Math.sqrt(degree); start += width) {
    if (values(start)[1] * values(start + width)[1] < 0) {
      let node = start + width / 2;
      for (let step = 0; step < 20; step += 1) {
        const [below, value] = values(node);
        node -= value / (Math.sqrt(degree) * below);
      }
      found.push([node, 1 / (degree * Math.pow(values(node)[0], 2))]);
    }
  }
  return found;
}

// Run what pauses to its end.
function finish(steps) {
  let step = steps.next();
  while (!step.done) {
    step = steps.next();
  }
  return step.value;
}

// ---- chooser.py ---------------------------------------------------------------------------------------------

const BY_ANSWERS = "adaptive", AT_RANDOM = "random", RANKING = "adaptive-ranking";

// What a session is chosen by, all of it known when it begins. A trial of the schedule has the columns of a trial list, and
// no images while they are to be chosen.
function begin(content, schedule, seed, until) {
  const prior = readPrior(content);
  const number = new Map(prior.images.map((name, image) => [name, image]));
  const reserved = reservedImages(schedule);
  const candidates = prior.images.filter((name) => !reserved.has(name));
  spread(prior);
  return { prior: prior, schedule: schedule, seed: seed, until: until, number, candidates };
}

// Choose the pair that comes after these answers, with pauses: its images, or none if so much has been gained that the
// session ends; and the share that has been gained, if it is asked for.
function* choosing(session, answers) {
  const posterior = yield* learningFrom(session, answers);
  const share = session.until === null ? null : shareGained(session, posterior);
  if (share !== null && share >= session.until) {
    return { pair: null, gained: share };
  }
  yield;
  return { pair: choose(session, posterior, answers), gained: share };
}

// What the answers to the first trials teach; catch trials and trials without an answer teach nothing.
function learningFrom(session, answers) {
  const taught = answers.filter((answer, trial) => answer.choice !== null && !session.schedule[trial].catch);
  return learning(session.prior, pairsOf(session, taught), Float64Array.from(taught, (answer) => answer.choice));
}

// The images of the trial that comes after so many answers.
function choose(session, posterior, answers) {
  const near = imagesNear(session.schedule, answers);
  const candidates = session.candidates.filter((name) => !near.has(name)).map((name) => session.number.get(name));
  const trial = answers.length;
  return nextPair(session.prior, posterior, candidates, session.seed, trial)
    .map((image) => session.prior.images[image]);
}

// The share of the accuracy that can be gained, judged on pairs that no adaptive trial shows; where the aim is the order of
// the images, on all pairs.
function shareGained(session, posterior) {
  if (session.schedule[0].design !== RANKING) {
    const random = session.schedule.filter((trial) => trial.chosen_by === AT_RANDOM);
    return gained(session.prior, posterior, pairsOf(session, random));
  }
  const pairs = [];
  for (let second = 0; second < session.prior.images.length; second += 1) {
    for (let first = 0; first < second; first += 1) {
      pairs.push([first, second]);
    }
  }
  return gained(session.prior, posterior, pairs);
}

function pairsOf(session, rows) {
  return rows.map((row) => [session.number.get(row.left_image), session.number.get(row.right_image)]);
}

// The images that no adaptive trial may show.
function reservedImages(schedule) {
  const fixed = schedule.filter((trial) => schedule[0].design !== RANKING && trial.chosen_by !== BY_ANSWERS);
  return new Set([].concat(...fixed.map((trial) => [trial.left_image, trial.right_image])));
}

// The images of the trials before and after the next one: no image is in two successive trials.
function imagesNear(schedule, answers) {
  const near = answers.slice(-1).concat(schedule.slice(answers.length + 1, answers.length + 2));
  return new Set([].concat(...near.map((row) => [row.left_image, row.right_image])));
}

// A session whose pairs are chosen from its answers: copied into the code component "setup", after in_browser.js. What
// chooses is in the function `adaptive` (adaptive.js). It runs in a worker, so that screens are drawn meanwhile, and
// while a pair is looked at it chooses the next one after either answer, whose pictures are then loaded ahead.

const chooser = {
  images: [], // name, file and size of each, in the prior's order
  prior: null, // the content of its file
  worker: null,
  here: null, // the session of adaptive.js, where there is no worker
  jobs: [], // what is being chosen here, a slice in a frame
  chosen: new Map(), // the choices of all trials, as text -> what comes after them, or null while that is being chosen
  gained: null, // the share of the accuracy that can be gained
  over: false, // whether that is enough, or as many minutes have passed as the session may take
  began: 0, // when it did, in seconds of `performance`, as if it had been in one sitting

  // Choose what comes after some choices, unless that is done or fixed.
  ask(choices) {
    const trial = list.trials[choices.length], key = choices.join(" ");
    const begun = this.worker !== null || this.here !== null;
    if (!begun || trial === undefined || trial.chosen_by !== PLAN.adaptive.open || this.chosen.has(key)) {
      return;
    }
    const given = choices.map((choice, number) => {
      const { left_image, right_image } = list.trials[number];
      return { left_image: left_image, right_image: right_image, choice: choice };
    });
    this.chosen.set(key, null);
    if (this.worker !== null) {
      this.worker.postMessage({ key: key, answers: given });
    } else {
      this.jobs.push({ key: key, steps: adaptive().choosing(this.here, given) });
    }
  },

  // Take what was chosen, unless another answer was given meanwhile.
  take(key, found) {
    if (this.chosen.has(key)) {
      this.chosen.set(key, found);
      fillIn();
    }
  },

  // Choose in a worker; where there can be none, here.
  begin() {
    const schedule = list.trials.map((row) => {
      const { chosen_by, design, left_image, right_image } = row;
      const images = chosen_by === PLAN.adaptive.open ? {} : { left_image: left_image, right_image: right_image };
      return Object.assign({ chosen_by: chosen_by, design: design, catch: row.catch }, images);
    });
    const session = [this.prior, schedule, PLAN.adaptive.seed, PLAN.adaptive.until];
    const stay = (problem) => {
      console.warn("pairs are chosen without a worker", problem);
      this.worker = null;
      this.here = adaptive().begin(...session);
      this.chosen.clear();
      this.ask(choicesSoFar());
    };
    try {
      const source = `${adaptive}\n${work}\nwork(adaptive());`;
      this.worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      this.worker.onerror = stay;
      this.worker.onmessage = (message) => this.take(message.data.key, message.data.found);
      this.worker.postMessage({ session: session });
    } catch (error) {
      stay(error);
    }
    this.ask(choicesSoFar());
  },

  // Do a slice of what is to be done here.
  step() {
    if (this.jobs.length > 0) {
      const step = this.jobs[0].steps.next();
      if (step.done) {
        this.take(this.jobs.shift().key, step.value);
      }
    }
  },
};

// What the worker does.
function work(room) {
  let session = null;
  self.onmessage = (message) => {
    const { key, answers: given } = message.data;
    if (message.data.session) {
      session = room.begin(...message.data.session);
    } else {
      self.postMessage({ key: key, found: room.finish(room.choosing(session, given)) });
    }
  };
}

function choicesSoFar() {
  return answers.rows.map((row) => row[1]);
}

// How many seconds the session has taken: up to the last answer before the page was opened again, and since then.
function secondsTaken() {
  return performance.now() / 1000 - chooser.began;
}

function checkTheTime() {
  chooser.over = chooser.over || (PLAN.adaptive.minutes !== null && secondsTaken() >= 60 * PLAN.adaptive.minutes);
}

// Get what pairs are chosen by, and choose the next one.
async function setUpChoosing() {
  const last = answers.rows[answers.rows.length - 1];
  chooser.began = performance.now() / 1000 - (last === undefined ? 0 : last[5]);
  checkTheTime();
  chooser.images = await arrived(PLAN.adaptive.images, (reply) => reply.json());
  chooser.prior = await arrived(PLAN.adaptive.prior, (reply) => reply.arrayBuffer());
  const fixed = new Set([].concat(...list.trials.map((row) => [row.left_file, row.right_file])));
  let left = PLAN.adaptive.ahead;
  for (const image of chooser.images) {
    if (!fixed.has(image.file) && image.bytes <= left) {
      left -= image.bytes;
      list.late.push(image.file);
    }
  }
  chooser.begin();
  fillIn();
}

// Ask for a file until it arrives.
async function arrived(path, read) {
  for (;;) {
    try {
      const reply = await fetch(path);
      if (reply.ok) {
        return await read(reply);
      }
    } catch (error) {
      console.warn(path, error);
    }
    pictures.lost = true;
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

// Give the next trial its images, if they are chosen, and load all that are likely to be needed.
function fillIn() {
  const trial = list.trials[answers.rows.length], found = chooser.chosen.get(choicesSoFar().join(" "));
  if (found) {
    chooser.gained = found.gained;
    chooser.over = chooser.over || found.pair === null;
    Object.assign(trial, imagesOf(found.pair));
  }
  const pairs = Array.from(chooser.chosen.values(), (next) => next && imagesOf(next.pair)).filter((next) => next);
  list.early = [].concat(...pairs.map((images) => [images.left_file, images.right_file]));
  keepFrom(trial === undefined ? Infinity : trial.block);
}

// What a row says of the images of a pair that was chosen, if there is one.
function imagesOf(pair) {
  const [left, right] = (pair || []).map((name) => chooser.images.find((image) => image.image === name));
  return pair && { left_image: left.image, right_image: right.image, left_file: left.file, right_file: right.file };
}

// ---- pages --------------------------------------------------------------------------------------------------

// True when the page is left: as any other, or because the session is over.
function choosingPageFrame() {
  chooser.step();
  return pageFrame() || chooser.over;
}

// How far the session is: towards whichever of its ends is nearer.
function progressFrame() {
  const { minutes, until } = PLAN.adaptive;
  const gained = chooser.gained === null ? 0 : chooser.gained / until;
  const taken = minutes === null ? 0 : secondsTaken() / (60 * minutes);
  view.share = Math.min(1, Math.max(answers.rows.length / list.trials.length, gained, taken));
  view.body = PLAN.texts.pause_body.replace("{percent}", Math.round(100 * view.share));
}

// ---- pairs --------------------------------------------------------------------------------------------------

function beginNextPair() {
  layOut();
  Object.assign(view, { onset: null, touched: null, given: null, shown: false, guessed: false, hint: "" });
}

// Have the images of the pair shown once the cross was there long enough and they are decoded. Where they are late, say
// why.
function showWhenReady(t, left, right) {
  chooser.step();
  const { left_file, right_file } = list.trials[answers.rows.length], files = [left_file, right_file];
  if (view.given === null && files.every((file) => pictures.ready.has(file))) {
    view.given = false;
    const decoded = files.map((file) => pictures.ready.get(file).decode()); // a browser may have dropped what it decoded
    Promise.all(decoded).catch(() => null).then(() => {
      left.setSize(show(left, files[0]));
      right.setSize(show(right, files[1]));
      view.given = true;
    });
  }
  view.shown = view.shown || (view.given === true && t >= PLAN.adaptive.fixation);
  const late = !view.shown && t > PLAN.adaptive.patience;
  const text = pictures.lost ? PLAN.texts.offline : PLAN.texts.loading;
  view.hint = late ? text.replace("{percent}", Math.floor(100 * pictures.share(files))) : "";
}

// As `pairFrame`; meanwhile, prepare for either answer. True also when there is no pair, since the session is over.
function nextPairFrame(shown) {
  const left = pairFrame(shown) || chooser.over;
  if (shown && view.onset !== Infinity) {
    if (!view.guessed && chooser.worker !== null) {
      view.guessed = true;
      [0, 1].forEach((choice) => chooser.ask(choicesSoFar().concat(choice)));
    }
    if (list.early.some((file) => !pictures.ready.has(file))) {
      pictures.load(4);
    }
  }
  return left;
}

// End the loop when the session is over.
function leavePair(loop, trial, key, keyTime) {
  if (chooser.over) {
    loop.finished = true;
  } else {
    recordNext(loop, trial, key, keyTime);
  }
}

// As `recordAnswer`, with the images that were chosen; then choose the next pair.
function recordNext(loop, trial, key, keyTime) {
  const found = chooser.chosen.get(choicesSoFar().join(" ")); // nothing where the images were fixed
  const images = found ? imagesOf(found.pair) : null;
  Object.assign(loop.getCurrentTrial(), images);
  recordAnswer(trial, key, keyTime, images, secondsTaken());
  checkTheTime();
  const now = choicesSoFar().join(" ");
  for (const key of Array.from(chooser.chosen.keys()).filter((one) => one !== now)) {
    chooser.chosen.delete(key);
  }
  chooser.jobs = chooser.jobs.filter((job) => job.key === now);
  chooser.ask(choicesSoFar());
  fillIn();
}

// The parts of a session in the browser that Builder has no component for: copied into the code component "setup".
// PLAN, which the exporter writes above, holds the texts, the keys and the name of the trial list.

// What the components show: lengths in PsychoJS's "height" units, and what changes from trial to trial.
const view = {
  unit: 1, box: 0.5, centre: 0.3, wrap: 1.05,
  resumed: false, fresh: true, ready: false, hint: "", body: "", share: 0, skip: false, block: null, // pages
  practices: 1, repeats: 1, rows: null, // loops
  left_size: [0.5, 0.5], right_size: [0.5, 0.5], touched: null, // pairs
  onset: null, onset_in_session: null, // of the images, in seconds since the page was opened or the session began
};

const list = {
  trials: [], practice: [], // the rows of the conditions files
  early: [], late: [], // pictures that may be needed beside those of the rows, to be loaded before and after them
};
const waiting = { share: () => 1, since: null, stays: Infinity, meanwhile: "", hint: "" }; // what a page waits for

// ---- pictures and answers -----------------------------------------------------------------------------------

// Pictures are loaded from first to last in the background, a few at a time. One that does not arrive is asked for
// again, so that a lost network costs time and nothing else.
const pictures = {
  files: [],
  ready: new Map(), // file -> decoded image
  coming: new Set(),
  resumeAt: 0,
  lost: false,

  // Load those of `files` that are not there yet, and forget all others.
  keep(files) {
    const kept = new Set(files.filter((file) => file !== undefined));
    this.files = Array.from(kept);
    for (const file of Array.from(this.ready.keys())) {
      if (!kept.has(file)) {
        this.ready.delete(file);
      }
    }
  },

  // Begin loading, such that at most `parallel` are on their way.
  load(parallel) {
    for (const file of this.files) {
      if (this.coming.size >= parallel || performance.now() < this.resumeAt) {
        return;
      }
      if (!this.ready.has(file) && !this.coming.has(file)) {
        this.coming.add(file);
        this.fetch(file);
      }
    }
  },

  async fetch(file) {
    const image = new Image();
    image.src = `images/${file}`;
    try {
      await image.decode();
      this.ready.set(file, image);
      this.lost = false;
    } catch (error) {
      this.resumeAt = performance.now() + 2000;
      this.lost = true;
    }
    this.coming.delete(file);
  },

  // Give the share of `files` that is there.
  share(files) {
    return files.length === 0 ? 1 : files.filter((file) => this.ready.has(file)).length / files.length;
  },
};

// Answers stay in this browser from the moment they are given until the whole session is saved: a page that is opened
// again goes on after the last one.
const answers = {
  name: "",
  rows: [], // [trial, choice, rt, onset], and in adaptive sessions the images of a trial that came without, and seconds

  open(name) {
    this.name = name;
    this.rows = inBrowser(() => JSON.parse(localStorage.getItem(name))) || [];
  },

  add(row) {
    this.rows.push(row);
    inBrowser(() => localStorage.setItem(this.name, JSON.stringify(this.rows)));
  },

  forget() {
    inBrowser(() => localStorage.removeItem(this.name));
  },
};

// Read or change what the browser stores. Some store nothing, as in a private window: there a reload begins anew.
function inBrowser(access) {
  try {
    return access();
  } catch (error) {
    console.warn("this browser stores nothing", error);
    return null;
  }
}

// Whether answers go to Pavlovia, rather than into a file that the browser offers to save.
function uploads() {
  return "pavlovia" in psychoJS.config && psychoJS.config.experiment.status === "RUNNING" && !PILOTING;
}

// Upload all answers. Without a connection it tries again until there is one; if it fails all the same, the answers stay
// in the browser, and PsychoJS says why when it quits.
async function uploadAll() {
  for (let failed = 0; uploads() && failed < 10;) {
    try {
      if (psychoJS.config.experiment.resultsUpload) {
        delete psychoJS.config.experiment.resultsUpload.lastUploadTimestamp; // or it may be refused as too early
      }
      await psychoJS.experiment.save();
      answers.forget();
      break;
    } catch (error) {
      failed += navigator.onLine ? 1 : 0;
      pictures.lost = true;
      await new Promise((resolve) => setTimeout(resolve, 5000));
    }
  }
  view.body = PLAN.texts.end_body;
  waiting.share = () => 1;
}

// ---- the session --------------------------------------------------------------------------------------------

// Begin where this participant stopped, or at the first trial.
function setUp() {
  inBrowser(() => sessionStorage.setItem(PLAN.key, JSON.stringify([expInfo.participant, expInfo.session])));
  const read = (file) => TrialHandler.importConditions(psychoJS.serverManager, file);
  list.trials = read(PLAN.trials_file);
  list.practice = PLAN.practice > 0 ? read(PLAN.practice_file) : [];
  answers.open([PLAN.key, expInfo.participant, expInfo.session].join(" "));
  for (const [trial, choice, rt, since, images] of answers.rows) {
    Object.assign(list.trials[trial], images);
    const row = Object.assign({}, list.trials[trial], { choice: choice, rt: rt, onset: since });
    Object.keys(row).forEach((name) => psychoJS.experiment.addData(name, row[name]));
    psychoJS.experiment.nextEntry([]);
  }
  const done = answers.rows.length;
  view.resumed = done > 0;
  view.fresh = !view.resumed;
  view.practices = view.fresh ? 1 : 0;
  view.repeats = done < list.trials.length ? 1 : 0;
  view.rows = done < list.trials.length ? `${done}:${list.trials.length}` : "0:1";
  keepFrom(done < list.trials.length ? list.trials[done].block : Infinity);
}

// The pictures of the trials of a block that have no answer yet, as far as they are known; undefined for those that are
// to be chosen for the next trial.
function filesOfBlock(block) {
  const rows = list.trials.slice(answers.rows.length).filter((row, place) =>
    row.block === block && (place === 0 || row.left_file !== undefined));
  return [].concat(...rows.map((row) => [row.left_file, row.right_file]));
}

function practiceFiles() {
  return [].concat(...list.practice.map((row) => [row.practice_left_file, row.practice_right_file]));
}

// From now on, have the pictures of this block and load those of the next.
function keepFrom(block) {
  const practice = view.block === null && view.fresh ? practiceFiles() : [];
  pictures.keep(practice.concat(list.early, filesOfBlock(block), filesOfBlock(block + 1), list.late));
}

// PsychoJS's "height" is the shorter side of the window.
function layOut() {
  const side = Math.min(window.innerWidth, window.innerHeight);
  const length = ([heights, widths]) => Math.min(heights * window.innerHeight, widths * window.innerWidth) / side;
  view.unit = length(PLAN.layout.unit);
  view.wrap = length(PLAN.layout.wrap);
  view.box = length(PLAN.layout.box);
  view.centre = view.box / 2 + PLAN.layout.gap * window.innerWidth / side;
}

// ---- pages --------------------------------------------------------------------------------------------------

function beginWelcome() {
  if (!new RegExp(PLAN.code).test(expInfo.participant)) { // it could be a name or an address
    psychoJS.config.experiment.saveIncompleteResults = false;
    quitPsychoJS(ordered(PLAN.texts.code), false);
  }
  beginPage("welcome", PLAN.practice > 0 ? () => [] : firstFiles);
}

function beginPracticeIntro() {
  beginPage("practice_intro", practiceFiles);
}

function beginStart() {
  beginPage("start", firstFiles);
}

function beginResume() {
  view.body = PLAN.texts.resume_body.replace("{done}", answers.rows.length);
  beginPage("resume", firstFiles);
}

function firstFiles() {
  const done = answers.rows.length;
  return done < list.trials.length ? filesOfBlock(list.trials[done].block) : [];
}

// A break comes before the first trial of each block but the first.
function beginPause(block) {
  view.skip = view.block === null || view.block === block;
  if (view.block !== block) {
    view.block = block;
    keepFrom(block);
  }
  view.share = answers.rows.length / list.trials.length;
  view.body = PLAN.texts.pause_body.replace("{done}", block);
  beginPage("pause", () => filesOfBlock(block));
  if (!view.skip && uploads()) {
    psychoJS.experiment.save().catch((error) => console.warn("nothing uploaded in this break", error));
  }
}

function beginEnd() {
  beginPage("end", () => []);
  waiting.share = () => 0;
  waiting.meanwhile = view.body = "";
  waiting.stays = PLAN.end_stays;
  uploadAll();
}

// A page that goes on with a key or a touch, once the pictures that come after it are there.
function beginPage(name, needed) {
  layOut();
  const share = () => pictures.share(needed());
  const texts = { meanwhile: PLAN.texts.loading, hint: PLAN.texts[name] };
  Object.assign(waiting, texts, { share: share, since: null, stays: Infinity });
  view.ready = false;
}

// Say what the page waits for. True when it has been touched, or has stayed long enough.
function pageFrame() {
  pictures.load(6);
  const share = waiting.share();
  view.ready = share === 1;
  if (!view.ready) {
    const text = pictures.lost ? PLAN.texts.offline : waiting.meanwhile;
    view.hint = text.replace("{percent}", Math.floor(100 * share));
    return false;
  }
  view.hint = waiting.hint;
  const now = performance.now() / 1000;
  waiting.since = waiting.since === null ? now : waiting.since;
  const touched = pointer.after(waiting.since + PLAN.double_click) !== null; // not by the second half of a double click
  return touched || now > waiting.since + waiting.stays;
}

function stopped() {
  return psychoJS.eventManager.getKeys({ keyList: PLAN.stop }).length > 0;
}

function stoppedText() {
  return ordered(PLAN.texts.stopped.replace("{done}", answers.rows.length));
}

// ---- pairs --------------------------------------------------------------------------------------------------

function beginPair(left, right, leftFile, rightFile) {
  layOut();
  Object.assign(view, { onset: null, touched: null });
  view.left_size = show(left, leftFile);
  view.right_size = show(right, rightFile);
}

// Give a stimulus its image; returns the size at which it fits into the box.
function show(stimulus, file) {
  const image = pictures.ready.get(file);
  const scale = view.box / Math.max(image.naturalWidth, image.naturalHeight);
  stimulus.setImage(image);
  return [scale * image.naturalWidth, scale * image.naturalHeight];
}

// Load pictures while the cross is shown; then note the onset. True when an image, or the third answer, has been touched.
function pairFrame(shown) {
  if (!shown) {
    pictures.load(4);
    return false;
  }
  if (view.onset === null) {
    view.onset = Infinity;
    psychoJS.window.callOnFlip(() => {
      view.onset = performance.now() / 1000;
      view.onset_in_session = globalClock.getTime();
    });
  }
  const press = pointer.after(view.onset);
  const inside = (x, y) => Math.abs(Math.abs(x) - view.centre) < view.box / 2 && Math.abs(y) < view.box / 2;
  const below = (y) => 0 < -y - view.box / 2 && -y - view.box / 2 < 2 * PLAN.layout.hint_below * view.unit;
  const third = (x, y) => PLAN.no_preference.length > 0 && Math.abs(x) < view.centre / 2 && below(y);
  if (press !== null && inside(press.x, press.y)) {
    view.touched = { choice: press.x > 0 ? 1 : 0, rt: press.time - view.onset };
  } else if (press !== null && third(press.x, press.y)) {
    view.touched = { choice: 0.5, rt: press.time - view.onset };
  }
  return view.touched !== null;
}

function recordAnswer(trial, key, keyTime, ...more) {
  const side = PLAN.right.includes(key) ? 1 : 0;
  const answer = view.touched || { choice: PLAN.no_preference.includes(key) ? 0.5 : side, rt: keyTime };
  psychoJS.experiment.addData("choice", answer.choice);
  psychoJS.experiment.addData("rt", answer.rt);
  psychoJS.experiment.addData("onset", view.onset_in_session);
  answers.add([trial, answer.choice, answer.rt, view.onset_in_session].concat(more));
}

// The last press of a finger or a mouse button. PsychoJS looks once a frame whether a button is down, and so misses
// short taps.
const pointer = {
  press: null,

  // Give a press that came after `since`, in seconds since the page was opened, or null.
  after(since) {
    const press = this.press;
    this.press = null;
    return press !== null && press.time >= since ? press : null;
  },
};
window.addEventListener("pointerdown", (event) => {
  const side = Math.min(window.innerWidth, window.innerHeight);
  pointer.press = {
    x: (event.clientX - window.innerWidth / 2) / side,
    y: (window.innerHeight / 2 - event.clientY) / side,
    time: event.timeStamp / 1000,
  };
}, true);

// A page that is loaded again in the same tab goes on with the same participant.
const last = inBrowser(() => JSON.parse(sessionStorage.getItem(PLAN.key)));
if (last !== null) {
  Object.assign(expInfo, { participant: last[0], session: last[1] });
}

// Without its optional translator, Builder leaves what little Python its fields hold as it is: these words of it.
function str(value) {
  return String(value);
}
function randint(low, high) {
  return util.randint(low, high);
}
const False = false, True = true, None = null;

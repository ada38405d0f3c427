// Texts in any script in the browser: copied into the code component "setup", after in_browser.js.

// Kinds of characters, in words, since Builder's check of JavaScript does not know them.
const kind = (characters, flags = "u") => new RegExp(characters, flags);
const LETTERS = kind("\\p{L}", "gu");
const LEFTWARDS = kind("[\\u0590-\\u08ff\\ufb1d-\\ufdff\\ufe70-\\ufefc]", "gu"); // Hebrew, Arabic and the like
const OPENING = kind("[\\p{Ps}\\p{Pi}]$");
const BEGINNING = kind("^[\\p{L}\\p{N}\\p{S}\\p{Ps}\\p{Pi}]");
const UNSPACED = kind( // without spaces between words
  "[\\p{scx=Han}\\p{scx=Hira}\\p{scx=Kana}\\p{scx=Thai}\\p{scx=Laoo}\\p{scx=Khmr}\\p{scx=Mymr}\\uff00-\\uffef]",
);

// What begins a line neither there nor elsewhere: small Kana and signs that repeat or prolong.
const BOUND = /^[ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー々]/;

// The pieces of a line between which it may be broken: after spaces, and between words where there are none.
function pieces(line) {
  const words = "Segmenter" in Intl
    ? Array.from(new Intl.Segmenter(undefined, { granularity: "word" }).segment(line), (word) => word.segment)
    : Array.from(line);
  const parts = [""];
  for (const word of words) {
    const before = parts[parts.length - 1];
    const afterSpace = /\S\s+$/.test(before) && /^\S/.test(word);
    const unspaced = UNSPACED.test(before.slice(-1)) && UNSPACED.test(word) && !BOUND.test(word);
    const begins = BEGINNING.test(word) && !OPENING.test(before);
    if (afterSpace || (unspaced && begins)) {
      parts.push(word);
    } else {
      parts[parts.length - 1] += word;
    }
  }
  return parts;
}

// Break a line that is longer than `width`. Where most letters are Arabic, Hebrew or the like, mark what comes of it as
// written from right to left.
function lines(line, width, length) {
  const broken = [""];
  for (const piece of pieces(line)) {
    const longer = broken[broken.length - 1] + piece;
    if (broken[broken.length - 1] !== "" && length(longer.trim()) > width) {
      broken.push(piece);
    } else {
      broken[broken.length - 1] = longer;
    }
  }
  const count = (letters) => (line.match(letters) || []).length;
  const leftwards = count(LEFTWARDS) > count(LETTERS) / 2;
  return broken.map((part) => leftwards ? `\u2067${part.trim()}\u2069` : part.trim());
}

// A text for PsychoJS's dialog, which breaks lines itself.
function ordered(text) {
  return [].concat(...text.split("\n").map((line) => lines(line, Infinity, () => 0))).join("\n");
}

// PsychoJS would give lines the height of Latin letters, break them at spaces alone, and begin each at the left.
const style = visual.TextStim.prototype._getTextStyle;
visual.TextStim.prototype._getTextStyle = function getTextStyle() {
  const made = style.call(this);
  return Object.assign(made, { lineHeight: 1.25 * made.fontSize, padding: made.fontSize / 2 });
};
const update = visual.TextStim.prototype._updateIfNeeded;
visual.TextStim.prototype._updateIfNeeded = function updateIfNeeded() {
  if (!this._needUpdate) {
    return;
  }
  const given = { _text: this._text, _wrapWidth: this._wrapWidth };
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.font = this._getTextStyle().toFontString();
  const width = this._wrapWidth === undefined ? Infinity : this._getHorLengthPix(this._wrapWidth);
  const shown = String(this._text).split("\n").map((line) => lines(line, width, (text) => canvas.measureText(text).width));
  Object.assign(this, { _text: [].concat(...shown).join("\n"), _wrapWidth: undefined });
  update.call(this);
  Object.assign(this, given);
};

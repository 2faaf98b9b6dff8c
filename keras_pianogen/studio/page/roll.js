// A piano roll with a cursor. Times in seconds, pitches and velocities MIDI's.

import { endOf } from "/pieces.js";

const BLACK = new Set([1, 3, 6, 8, 10]);
const SHADES = 16;
const MIN_SPAN = 24; // semitones
const SOUNDING = 3; // seconds that a note with no end yet is drawn at most

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function mix(from, to, share) {
  const parse = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const [a, b] = [parse(from), parse(to)];
  const mixed = a.map((x, i) => Math.round(x + (b[i] - x) * share));
  return `rgb(${mixed.join(" ")})`;
}

let palette = null;
const rolls = new Set();

function colours() {
  if (palette) return palette;
  const shades = [...Array(SHADES).keys()].map((i) => i / (SHADES - 1));
  const [soft, middle, loud] = ["--soft", "--middle", "--loud"].map(colour);
  palette = {
    made: shades.map((x) => x < 0.5 ? mix(soft, middle, 2 * x)
      : mix(middle, loud, 2 * x - 1)),
    given: shades.map((x) => mix(colour("--given-soft"),
      colour("--given-loud"), x)),
    black: colour("--roll-black"),
    octave: colour("--roll-octave"),
    prompt: colour("--roll-prompt"),
    quiet: colour("--quiet"),
  };
  return palette;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  palette = null;
  rolls.forEach((roll) => roll.draw());
});

export class Roll {
  // `onSeek(seconds)` is called when somebody points at a time. A roll shows
  // the whole piece, or what comes from its `viewStart` on.
  constructor(box, label, onSeek, { whole = false } = {}) {
    this.box = box;
    this.whole = whole;
    this.onSeek = onSeek;
    this.canvas = document.createElement("canvas");
    this.cursor = document.createElement("i");
    box.append(this.canvas, this.cursor);
    box.tabIndex = 0;
    box.setAttribute("role", "slider");
    box.setAttribute("aria-label", label);
    box.setAttribute("aria-valuemin", "0");
    box.addEventListener("pointerdown", (event) => this.point(event));
    box.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) this.point(event);
    });
    box.addEventListener("keydown", (event) => this.press(event));
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(box);
    rolls.add(this);
  }

  remove() {
    this.resized.disconnect();
    rolls.delete(this);
  }

  show(piece) {
    this.piece = piece;
    this.draw();
    this.move();
  }

  // Draw once, however often it is asked for before the next frame.
  draw() {
    if (this.waiting || !this.piece) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
      this.move();
    });
  }

  get begin() {
    return this.whole ? 0 : this.piece.viewStart || 0;
  }

  get end() {
    const least = this.piece.planned || 4;
    return Math.max(least, endOf(this.piece), this.begin + 1);
  }

  x(time) {
    const share = (time - this.begin) / (this.end - this.begin);
    return share * this.box.clientWidth;
  }

  paint() {
    const width = this.box.clientWidth;
    const height = this.box.clientHeight;
    const scale = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const brush = this.canvas.getContext("2d");
    brush.scale(scale, scale);
    const [low, high] = this.range();
    const row = height / (high - low + 1);
    const y = (pitch) => (high - pitch) * row;
    this.paintGround(brush, low, high, row, y, width);
    this.paintPrompt(brush, height);
    this.paintNotes(brush, row, y);
    brush.fillStyle = colours().quiet;
    brush.font = "10px system-ui, sans-serif";
    for (let pitch = Math.ceil(low / 12) * 12; pitch <= high; pitch += 12) {
      brush.fillText(`C${pitch / 12 - 1}`, 4, Math.max(10, y(pitch) + row - 2));
    }
  }

  range() {
    let low = 127;
    let high = 0;
    for (const { pitch } of this.piece.notes) {
      low = Math.min(low, pitch);
      high = Math.max(high, pitch);
    }
    if (low > high) return [48, 84];
    low -= 2;
    high += 2;
    const spare = Math.max(0, MIN_SPAN - (high - low));
    low = Math.max(0, low - Math.ceil(spare / 2));
    return [low, Math.min(127, Math.max(high, low + MIN_SPAN))];
  }

  paintGround(brush, low, high, row, y, width) {
    const shade = colours();
    for (let pitch = low; pitch <= high; pitch++) {
      if (BLACK.has(pitch % 12)) {
        brush.fillStyle = shade.black;
        brush.fillRect(0, y(pitch), width, row);
      }
      if (pitch % 12 === 0) {
        brush.fillStyle = shade.octave;
        brush.fillRect(0, y(pitch) + row - 1, width, 1);
      }
    }
  }

  paintPrompt(brush, height) {
    const border = this.x(this.piece.border || 0);
    if (border <= 0) return;
    brush.fillStyle = colours().prompt;
    brush.globalAlpha = 0.1;
    brush.fillRect(0, 0, border, height);
    brush.globalAlpha = 0.7;
    brush.fillRect(border - 0.5, 0, 1, height);
    brush.globalAlpha = 1;
  }

  paintNotes(brush, row, y) {
    const { notes, border = 0, until = 0 } = this.piece;
    const shade = colours();
    for (const note of notes) {
      const end = note.end ?? Math.min(until, note.start + SOUNDING);
      if (end < this.begin) continue;
      const x = this.x(Math.max(note.start, this.begin));
      const level = Math.floor(note.velocity / 128 * SHADES);
      brush.fillStyle = (note.start < border - 1e-6
        ? shade.given : shade.made)[level];
      const long = Math.max(1.5, this.x(end) - x - 0.5);
      const tall = Math.max(1.5, row - Math.min(1, row / 4));
      brush.beginPath();
      brush.roundRect(x, y(note.pitch), long, tall, Math.min(2, tall / 3));
      brush.fill();
    }
  }

  // Put the cursor where the piece's position is.
  move() {
    const position = this.piece.position || 0;
    const x = Math.max(0, this.x(position));
    this.cursor.style.transform = `translateX(${x.toFixed(1)}px)`;
    const { box } = this;
    box.setAttribute("aria-valuemax", this.end.toFixed(1));
    box.setAttribute("aria-valuenow", position.toFixed(2));
    box.setAttribute("aria-valuetext",
      `${position.toFixed(1)} of ${this.end.toFixed(1)} seconds`);
  }

  point(event) {
    if (event.button > 0) return;
    const share = (event.clientX - this.box.getBoundingClientRect().left)
      / this.box.clientWidth;
    this.seek(this.begin + share * (this.end - this.begin));
  }

  press(event) {
    const step = event.shiftKey ? 5 : 1;
    const now = this.piece.position || 0;
    const places = {
      ArrowLeft: now - step, ArrowRight: now + step,
      Home: this.begin, End: this.end,
    };
    if (!(event.key in places)) return;
    event.preventDefault();
    this.seek(places[event.key]);
  }

  seek(time) {
    this.onSeek(Math.min(Math.max(0, time), this.end));
  }
}

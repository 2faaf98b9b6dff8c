// A piano roll with a cursor. Times in seconds, pitches and velocities MIDI's.
//
// It draws only the notes that can be seen. What stands on a roll besides, such
// as a handle, is moved by the functions in `marks`.

import { colours, onColours, shadeOf } from "/colours.js";
import { Dense } from "/dense.js";
import { spansOf } from "/pedal.js";
import { endOf, indexOf, visible } from "/pieces.js";
import { paintRuler } from "/ruler.js";

const BLACK = new Set([1, 3, 6, 8, 10]);
const MIN_SPAN = 24; // semitones
const SOUNDING = 3; // seconds that a note with no end yet is drawn at most
const MANY = 1500; // notes at once, which are drawn without round corners
const RULER = 20; // pixels
const LANE = 12; // pixels of the pedal's lane, under the notes

const rolls = new Set();
onColours(() => rolls.forEach((roll) => roll.draw()));

export class Roll {
  // A roll shows a piece from its `viewStart` on. One that is `whole` begins at
  // 0, has a ruler, and can be zoomed: then `view` is {begin, end}.
  constructor(box, label, { whole = false } = {}) {
    this.box = box;
    this.whole = whole;
    this.top = whole ? RULER : 0;
    this.view = null;
    this.heldRange = null; // pitches that are shown while a note is dragged
    this.marks = [];
    this.chosen = new Set(); // notes that are drawn as selected
    this.canvas = document.createElement("canvas");
    this.brush = this.canvas.getContext("2d");
    this.cursor = document.createElement("i");
    box.append(this.canvas, this.cursor);
    box.tabIndex = 0;
    box.setAttribute("role", "slider");
    box.setAttribute("aria-label", label);
    box.setAttribute("aria-valuemin", "0");
    this.width = this.height = 0; // pixels, see `measure`
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
    this.measure();
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

  // Once a frame, before anything is moved: asking the box itself would lay out the
  // page again each time.
  measure() {
    this.width = this.box.clientWidth;
    this.height = this.box.clientHeight;
  }

  // === Where things are ===

  get first() {
    return this.whole ? 0 : this.piece.viewStart || 0;
  }

  get last() {
    if (this.piece.viewEnd && !this.whole) return this.piece.viewEnd;
    const least = this.piece.planned || 4;
    return Math.max(least, endOf(this.piece), this.first + 1);
  }

  get begin() {
    return this.view ? this.view.begin : this.first;
  }

  get end() {
    return this.view ? this.view.end : this.last;
  }

  get perSecond() {
    return this.width / (this.end - this.begin);
  }

  x(time) {
    return (time - this.begin) * this.perSecond;
  }

  // The pedal's lane in pixels; a piece without a pedal has none.
  get lane() {
    return spansOf(this.piece.moves).length ? LANE : 0;
  }

  // The lowest pitch, the highest one, and the height of a row in pixels.
  get pitches() {
    const [low, high] = this.range();
    const height = this.height - this.top - this.lane;
    return { low, high, row: height / (high - low + 1) };
  }

  // The time and the pitch at a place on the screen, and whether it is beside the
  // pitches, on the ruler or in the pedal's lane.
  at({ clientX, clientY }) {
    const box = this.box.getBoundingClientRect();
    const { high, row } = this.pitches;
    return {
      time: this.begin + (clientX - box.left) / this.perSecond,
      pitch: high - Math.floor((clientY - box.top - this.top) / row),
      isBeside: clientY < box.top + this.top || clientY >= box.bottom - this.lane,
    };
  }

  range() {
    if (this.heldRange) return this.heldRange;
    const { low, high } = indexOf(this.piece.notes);
    if (low > high) return [48, 84];
    const spare = Math.max(0, MIN_SPAN - (high - low + 4));
    const least = Math.max(0, low - 2 - Math.ceil(spare / 2));
    return [least, Math.min(127, Math.max(high + 2, least + MIN_SPAN))];
  }

  // === Drawing ===

  paint() {
    this.measure();
    const { width, height } = this;
    const scale = devicePixelRatio || 1;
    const sizes = [Math.round(width * scale), Math.round(height * scale)];
    if (this.canvas.width !== sizes[0]) this.canvas.width = sizes[0];
    if (this.canvas.height !== sizes[1]) this.canvas.height = sizes[1];
    const { brush, top } = this;
    brush.setTransform(scale, 0, 0, scale, 0, 0);
    brush.fillStyle = colours().ground;
    brush.fillRect(0, 0, width, height);
    const { low, high, row } = this.pitches;
    const y = (pitch) => top + (high - pitch) * row;
    this.paintGround(low, high, row, y, width);
    this.paintPrompt(height);
    brush.fillStyle = colours().black;
    brush.fillRect(0, height - this.lane, width, this.lane);
    this.paintNotes(row, y);
    brush.fillStyle = colours().quiet;
    brush.font = "10px system-ui, sans-serif";
    for (let pitch = Math.ceil(low / 12) * 12; pitch <= high; pitch += 12) {
      brush.fillText(`C${pitch / 12 - 1}`, 4, Math.max(top + 10, y(pitch) + row - 2));
    }
    if (top) paintRuler(this, width, top);
  }

  // `put` paints a rectangle.
  paintPedal(put) {
    const { width, height } = this;
    const top = height - this.lane + 3;
    for (const [start, end] of spansOf(this.piece.moves)) {
      if (end < this.begin || start > this.end) continue;
      const x = Math.max(0, this.x(start));
      const right = Math.min(width, this.x(end));
      put(x, top, Math.max(1, right - x - 1), this.lane - 6);
    }
  }

  paintGround(low, high, row, y, width) {
    const { brush } = this;
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

  paintPrompt(height) {
    const { brush } = this;
    const border = this.x(this.piece.border || 0);
    if (border <= 0) return;
    brush.fillStyle = colours().prompt;
    brush.globalAlpha = 0.1;
    brush.fillRect(0, this.top, border, height);
    brush.globalAlpha = 0.7;
    brush.fillRect(border - 0.5, this.top, 1, height);
    brush.globalAlpha = 1;
  }

  paintNotes(row, y) {
    const { brush, begin, perSecond, piece } = this;
    const { notes, until = 0 } = piece;
    const tall = Math.max(1.5, row - Math.min(1, row / 4));
    const [first, last] = visible(notes, begin, this.end);
    const dense = last - first > MANY
      ? new Dense(this.width, this.height, devicePixelRatio || 1)
      : null;
    const { made, given, rung } = dense ? dense.shades(colours()) : colours();
    const put = dense ? (fill, x, top, long) => dense.fill(fill, x, top, long, tall)
      : (fill, x, top, long) => fillRound(brush, fill, x, top, long, tall);
    const painted = new Float64Array(128); // of each pitch: up to which place
    const isGiven = this.givenTest();
    const { chosen } = this;
    const framed = [];
    for (let i = first; i < last; i++) {
      const note = notes[i];
      const { start, pitch } = note;
      const end = note.end ?? Math.max(start, Math.min(until, start + SOUNDING));
      if (end < begin) continue;
      const x = Math.max(0, (start - begin) * perSecond);
      const long = Math.max(1.5, (end - begin) * perSecond - x - 0.5);
      const top = y(pitch);
      if (chosen.size && chosen.has(note)) framed.push([x, top, long, tall]);
      if (dense && x + long < painted[pitch] + 0.5) continue; // It would hide there.
      painted[pitch] = x + long;
      const isOld = isGiven(start);
      const shade = shadeOf(note.velocity);
      let held = long;
      if (long > 2.5 && note.up < end) {
        held = Math.max(1.5, Math.min(long, (note.up - begin) * perSecond - x));
        put((isOld ? rung.given : rung.made)[shade], x, top, long);
      }
      put((isOld ? given : made)[shade], x, top, held);
    }
    if (dense && this.lane) this.paintPedal((x, top, long, high) =>
      dense.fill(dense.shades(colours()).pedal, x, top, long, high));
    dense?.drawOn(brush);
    framed.forEach((place) => this.frame(...place));
    if (dense || !this.lane) return;
    brush.fillStyle = colours().pedal;
    this.paintPedal((...place) => brush.fillRect(...place));
  }

  // Whether a note that starts then stood there before the piece's newest music.
  givenTest() {
    const { border = 0, gap } = this.piece;
    if (gap) return (start) => start < gap.start - 1e-6 || start >= gap.end;
    return (start) => start < border - 1e-6;
  }

  frame(x, y, long, tall) {
    const { brush } = this;
    brush.strokeStyle = colours().text;
    brush.lineWidth = 2;
    brush.strokeRect(x - 1, y - 1, long + 2, tall + 2);
  }

  // Put the cursor where the piece's position is.
  move() {
    const position = this.piece.position || 0;
    const x = this.x(position);
    this.cursor.hidden = x < -1 || x > this.width + 1;
    this.cursor.style.transform = `translateX(${x.toFixed(1)}px)`;
    const { box } = this;
    box.setAttribute("aria-valuemax", this.last.toFixed(1));
    box.setAttribute("aria-valuenow", position.toFixed(2));
    box.setAttribute("aria-valuetext",
      `${position.toFixed(1)} of ${this.last.toFixed(1)} seconds`);
    this.marks.forEach((mark) => mark());
  }
}

function fillRound(brush, colour, x, y, long, tall) {
  brush.fillStyle = colour;
  brush.beginPath();
  brush.roundRect(x, y, long, tall, Math.min(2, tall / 3));
  brush.fill();
}

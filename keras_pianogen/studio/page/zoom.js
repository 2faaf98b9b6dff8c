// What the roll shows of the piece: zoomed, scrolled, following the cursor.

import { roll } from "/panel.js";
import { $, on } from "/saying.js";
import { plays } from "/transport.js";
import { work } from "/work.js";

const LEAST = 0.5; // seconds to be seen at once
const BY_BUTTON = 1.6;
const BY_WHEEL = 0.0025; // of the zoom's logarithm, by pixel
const LINE = 16; // pixels of a wheel that counts lines
const MARGIN = 0.1; // of the view, left of a cursor that is followed

// Zoom so that a time stays where it is on the screen.
export function zoom(factor, time = anchor()) {
  const share = (time - roll.begin) / (roll.end - roll.begin);
  const long = Math.max(LEAST, (roll.end - roll.begin) / factor);
  look(time - share * long, long);
}

const cursorIsSeen = () => roll.piece.position >= roll.begin
  && roll.piece.position <= roll.end;
const anchor = () => cursorIsSeen() ? roll.piece.position
  : (roll.begin + roll.end) / 2;

export function scroll(seconds) {
  if (roll.view) look(roll.begin + seconds, roll.end - roll.begin);
}

export function showAll() {
  roll.view = null;
  roll.draw();
}

function look(begin, long) {
  if (long >= roll.last - roll.first) return showAll();
  const from = Math.min(Math.max(roll.first, begin), roll.last - long);
  roll.view = { begin: from, end: from + long };
  roll.draw();
}

// === Following ===

let wasSeen = true;

function follow() {
  if (roll.view && roll.view.end > roll.last + 1e-6) scroll(0);
  const { position, planned } = roll.piece;
  // Notes that are being played come into sight.
  if (roll.view && planned && roll.view.end < roll.last) look(roll.last, roll.end - roll.begin);
  if (roll.view && plays(roll.piece) && wasSeen && position > roll.end) {
    look(position - MARGIN * (roll.end - roll.begin), roll.end - roll.begin);
  }
  wasSeen = cursorIsSeen();
}

// A piece that comes from elsewhere is shown whole, an edit where it is.
let offers = null;
work.on("piece", () => {
  if (work.base.offers !== offers) showAll();
  offers = work.base.offers;
});

// === The scroll bar ===

const bar = $("scroll");
let placed = 0; // where the page put the bar, whose event comes a frame later

function showBar() {
  bar.hidden = !roll.view;
  if (!roll.view) return;
  $("scroll-size").style.width = `${(roll.last - roll.first) * roll.perSecond}px`;
  const left = (roll.begin - roll.first) * roll.perSecond;
  if (Math.abs(bar.scrollLeft - left) > 1) bar.scrollLeft = left;
  placed = bar.scrollLeft;
}

// The bar's event follows the page's own scrolling too, when the view may have
// moved on: only what somebody else scrolled counts.
bar.addEventListener("scroll", () => {
  if (!roll.view || bar.scrollLeft === placed) return;
  look(roll.first + bar.scrollLeft / roll.perSecond, roll.end - roll.begin);
});

roll.marks.push(follow, showBar);

// === Wheel, fingers and buttons ===

roll.box.addEventListener("wheel", (event) => {
  const unit = event.deltaMode ? LINE : 1;
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    zoom(Math.exp(-BY_WHEEL * unit * event.deltaY), roll.at(event).time);
  } else if (roll.view && (event.shiftKey || event.deltaX)) {
    event.preventDefault();
    scroll(unit * (event.deltaX || event.deltaY) / roll.perSecond);
  }
}, { passive: false });

const fingers = new Map(); // pointer → the time that it holds

// Two fingers hold two times: the view is such that they stay under them.
function pinch(event) {
  if (!fingers.has(event.pointerId)) return;
  fingers.get(event.pointerId).x = event.clientX - roll.box.getBoundingClientRect().left;
  if (fingers.size !== 2) return;
  event.stopImmediatePropagation();
  const [a, b] = fingers.values();
  if (Math.abs(a.x - b.x) < 8) return;
  const long = Math.max(LEAST,
    roll.width * Math.abs((a.time - b.time) / (a.x - b.x)));
  look(a.time - a.x / roll.width * long, long);
}

roll.box.addEventListener("pointerdown", (event) => {
  if (event.pointerType !== "touch") return;
  const { time } = roll.at(event);
  fingers.set(event.pointerId, { time, x: roll.x(time) });
}, true);
roll.box.addEventListener("pointermove", pinch, true);
for (const end of ["pointerup", "pointercancel"]) {
  window.addEventListener(end, (event) => fingers.delete(event.pointerId));
}

on($("zoom-in"), "click", () => zoom(BY_BUTTON));
on($("zoom-out"), "click", () => zoom(1 / BY_BUTTON));
on($("zoom-all"), "click", showAll);

// What a key does to the view; false if it is none of these.
export function zoomByKey({ key }) {
  const long = roll.end - roll.begin;
  const actions = {
    "+": () => zoom(BY_BUTTON), "=": () => zoom(BY_BUTTON),
    "-": () => zoom(1 / BY_BUTTON), 0: showAll,
    PageUp: () => scroll(-0.8 * long), PageDown: () => scroll(0.8 * long),
  };
  if (!(key in actions)) return false;
  if (key.startsWith("Page") && !roll.view) return false;
  actions[key]();
  return true;
}

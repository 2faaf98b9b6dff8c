// A page with one piece: it plays it, and shows where.

import { Clock } from "/clock.js";
import { computeTones } from "/computing.js";
import { clockTime, toNote } from "/pieces.js";
import { followRoll } from "/roll_cursor.js";
import { load } from "/sound.js";

const $ = (id) => document.getElementById(id);

export function start(workerAddress) {
  const { notes, piano } = JSON.parse($("data").textContent);
  const clock = new Clock(notes.map(toNote));
  load(piano, computeTones(workerAddress));
  followRoll($("roll"), clock);
  show(clock);
  listen(clock);
}

function show(clock) {
  const draw = () => {
    $("play").textContent = clock.paused ? "Play" : "Pause";
    $("time").textContent
      = `${clockTime(clock.currentTime)} / ${clockTime(clock.duration)}`;
    $("position").max = clock.duration;
    $("position").value = clock.currentTime;
    $("position").ariaValueText = clockTime(clock.currentTime);
  };
  for (const name of ["move", "seeking", "play"]) {
    clock.addEventListener(name, draw);
  }
  draw();
}

function listen(clock) {
  const toggle = () => (clock.paused ? clock.play() : clock.pause());
  $("play").addEventListener("click", toggle);
  $("position").addEventListener("input", () => {
    clock.currentTime = Number($("position").value);
  });
  addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target.closest("button, a")) return;
    event.preventDefault();
    toggle();
  });
}

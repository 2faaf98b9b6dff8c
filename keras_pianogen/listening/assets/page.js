// One listener's answers. They stay on this device until they are saved as a
// file.
"use strict";

const study = window.STUDY; // {study, seconds, items}, from items.js
const KEPT = "listening-test-" + study.study;
const MUST_HEAR = study.seconds / 2; // seconds, before a piece is judged
const byId = (id) => document.getElementById(id);
const form = byId("answers");
const sound = byId("sound");

let state = recall() || begin();

function randomHex(bytes) {
  const values = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(values, (x) => x.toString(16).padStart(2, "0")).join("");
}

// The shuffle of Fisher and Yates: all orders are equally likely.
function anyOrder(items) {
  const order = items.slice();
  for (let i = order.length - 1; i > 0; i--) {
    const draw = crypto.getRandomValues(new Uint32Array(1))[0];
    const j = Math.floor((draw / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

function begin() {
  return {
    version: 1,
    study: study.study,
    listener: randomHex(8),
    order: anyOrder(study.items),
    ratings: [],
  };
}

// If the browser allows no storage, a page that is closed starts again.
function keep() {
  try {
    localStorage.setItem(KEPT, JSON.stringify(state));
  } catch (error) {
    return;
  }
}

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT));
    return kept && kept.study === study.study ? kept : null;
  } catch (error) {
    return null;
  }
}

function show(name) {
  for (const id of ["intro", "piece", "end"]) {
    byId(id).hidden = id !== name;
  }
}

function showPiece() {
  const place = state.ratings.length;
  if (place === state.order.length) {
    showEnd();
    return;
  }
  form.reset();
  byId("missing").textContent = "";
  byId("heading").textContent = `Piece ${place + 1} of ${state.order.length}`;
  byId("progress").max = state.order.length;
  byId("progress").value = place;
  byId("next").textContent =
    place + 1 === state.order.length ? "Finish" : "Next";
  sound.src = `sounds/${state.order[place]}.wav`;
  show("piece");
  byId("heading").focus();
}

function showEnd() {
  const text = JSON.stringify(state, null, 1) + "\n";
  const save = byId("save");
  URL.revokeObjectURL(save.href);
  save.href = URL.createObjectURL(
    new Blob([text], { type: "application/json" }),
  );
  save.download = `ratings-${state.listener}.json`;
  sound.removeAttribute("src");
  show("end");
  byId("thanks").focus();
}

// Seconds of this piece that were played; each second counts once.
function secondsHeard() {
  let sum = 0;
  for (let i = 0; i < sound.played.length; i++) {
    sum += sound.played.end(i) - sound.played.start(i);
  }
  return sum;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const answers = new FormData(form);
  const heard = secondsHeard();
  const missing = [];
  if (heard < MUST_HEAR) missing.push("listen to half of the piece or more");
  if (!answers.has("quality")) missing.push("say how you find it");
  if (!answers.has("inspiring")) missing.push("say whether it is inspiring");
  if (missing.length) {
    byId("missing").textContent = `Please ${missing.join(", and ")}.`;
    return;
  }
  sound.pause();
  state.ratings.push({
    item: state.order[state.ratings.length],
    quality: answers.get("quality"),
    inspiring: answers.get("inspiring") === "yes",
    heard: Math.round(heard * 10) / 10,
  });
  keep();
  showPiece();
});

byId("start").addEventListener("click", showPiece);

byId("again").addEventListener("click", () => {
  if (!confirm("Delete the answers on this device? Save them first.")) return;
  state = begin();
  keep();
  show("intro");
});

byId("count").textContent = study.items.length;
byId("length").textContent = Math.round(study.seconds);
if (state.ratings.length) {
  showPiece();
} else {
  show("intro");
}

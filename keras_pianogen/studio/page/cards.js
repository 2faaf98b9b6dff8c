// The candidates, each with its roll and its buttons.

import { asCommand, asPython } from "/commands.js";
import { copy, download } from "/files.js";
import { showWav } from "/panel.js";
import { newNotes } from "/pieces.js";
import { point, pointByKeys, seeking } from "/pointing.js";
import { Roll } from "/roll.js";
import { $, on } from "/saying.js";
import { player, seek, showTransport, toggle, views } from "/transport.js";
import { work } from "/work.js";

const cards = new Map(); // piece → its card

export const cardOf = (piece) => cards.get(piece);

// Show the candidates of the piece that is worked on, the latest batch first.
export function showCards() {
  const shown = work.base.offers.pieces;
  for (const piece of cards.keys()) {
    if (!shown.includes(piece)) remove(piece);
  }
  for (const piece of shown) if (!cards.has(piece)) add(piece);
}

function remove(piece) {
  const { roll, item } = cards.get(piece);
  if (player.piece === piece) player.pause();
  roll.remove();
  item.remove();
  cards.delete(piece);
  if (views.get(piece)?.isCard) views.delete(piece);
}

function add(piece) {
  const item = $("card").content.firstElementChild.cloneNode(true);
  const find = (name) => item.querySelector(`.${name}`);
  const roll = new Roll(find("roll"), `${piece.name}, position`);
  point(roll, () => seeking(roll, (time) => seek(piece, time)));
  pointByKeys(roll, (time) => seek(piece, time));
  const card = {
    roll, item, isCard: true,
    move() {
      roll.move();
      showTransport(find("play"), find("time"), piece, piece.name);
    },
    update() {
      showAbout(piece, item, find);
      roll.draw();
      card.move();
    },
  };
  cards.set(piece, card);
  views.set(piece, card);
  item.querySelector("h3").textContent = piece.name;
  nameButtons(find, piece.name);
  roll.show(piece);
  listen(piece, find);
  card.update();
  item.dataset.batch = piece.batch;
  const older = [...$("cards").children]
    .find((other) => Number(other.dataset.batch) < piece.batch);
  $("cards").insertBefore(item, older || null);
}

// The same words on each card are told apart by those who only hear them.
function nameButtons(find, name) {
  find("discard").ariaLabel = `Discard ${name}`;
  find("continue").ariaLabel = `Continue from ${name}`;
  find("midi").ariaLabel = `MIDI file of ${name}`;
  find("wav").ariaLabel = `WAV file of ${name}`;
  find("command").ariaLabel = `Copy as command: ${name}`;
  find("python").ariaLabel = `Copy as Python: ${name}`;
}

function showAbout(piece, item, find) {
  item.classList.toggle("writing", !piece.done);
  find("about").textContent = `seed ${piece.made.seed} · `
    + `${newNotes(piece).length} notes${piece.stopped ? " · stopped" : ""}`;
  showWav(find("wav"), piece);
  for (const name of ["continue", "midi", "command", "python", "discard"]) {
    find(name).disabled = !piece.done
      || (name !== "discard" && !piece.notes.length);
  }
}

function listen(piece, find) {
  on(find("play"), "click", () => toggle(piece));
  on(find("continue"), "click", () => continueFrom(piece));
  on(find("midi"), "click", () => download(piece, "midi"));
  on(find("wav"), "click", () => download(piece, "wav"));
  on(find("command"), "click", () => copy(piece, asCommand));
  on(find("python"), "click", () => copy(piece, asPython));
  on(find("discard"), "click", () => discard(piece));
}

function continueFrom(piece) {
  work.goOn(piece);
  $("write").focus();
  $("piece").scrollIntoView({ block: "start" });
}

function discard(piece) {
  const { offers } = work.base;
  offers.pieces = offers.pieces.filter((other) => other !== piece);
  showCards();
  work.tell("change");
}

work.on("piece", showCards);

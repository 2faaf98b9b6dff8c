// The candidates, each with its roll and its buttons.
//
// They can be starred, compared at the same moment, and discarded; a candidate
// that is nearly empty is told, and offered again.

import { asCommand, asPython } from "/commands.js";
import { copy, download } from "/files.js";
import { showWav } from "/panel.js";
import { isNearlyEmpty, newNotes } from "/pieces.js";
import { point, pointByKeys, seeking } from "/pointing.js";
import { Roll } from "/roll.js";
import { $, counted, on, say } from "/saying.js";
import { savePage } from "/share.js";
import { player, seek, showTransport, toggle, views } from "/transport.js";
import { work } from "/work.js";
import { writeAgain } from "/writing.js";

const cards = new Map(); // piece → its card

// Show the candidates of the piece that is worked on, the latest batch first.
function showCards() {
  const shown = work.base.offers.pieces;
  const { activeElement: focused } = document;
  const place = [...$("cards").children]
    .findIndex((item) => item.contains(focused));
  for (const piece of cards.keys()) {
    if (!shown.includes(piece)) remove(piece);
  }
  for (const piece of shown) if (!cards.has(piece)) add(piece);
  if (place >= 0 && !focused.isConnected) focusCard(place);
}

// Focus that was on a card that is gone goes to the card in its place.
function focusCard(place) {
  const items = $("cards").children;
  const item = items[Math.min(place, items.length - 1)];
  (item ? item.querySelector(".star") : $("write")).focus();
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
  if (piece.gap) find("continue").textContent = "Use this";
  nameButtons(find, piece.name);
  roll.show(piece);
  listen(piece, find);
  card.update();
  place(piece, item);
}

// The latest batch first, and in it the order of writing.
function place(piece, item) {
  const { pieces } = work.base.offers;
  const isAfter = (other) => other.batch < piece.batch || (other.batch
    === piece.batch && pieces.indexOf(other) > pieces.indexOf(piece));
  const shown = [...cards.keys()].filter((other) => other !== piece);
  const elements = new Map(shown.map((other) => [cards.get(other).item, other]));
  const after = [...$("cards").children]
    .find((element) => isAfter(elements.get(element)));
  $("cards").insertBefore(item, after || null);
}

// The same words on each card are told apart by those who only hear them.
function nameButtons(find, name) {
  find("discard").ariaLabel = `Discard ${name}`;
  find("star").ariaLabel = `Star ${name}`;
  find("again").ariaLabel = `Write it again: ${name}`;
  find("continue").ariaLabel = `${find("continue").textContent}: ${name}`;
  find("midi").ariaLabel = `MIDI file of ${name}`;
  find("wav").ariaLabel = `WAV file of ${name}`;
  find("page").ariaLabel = `Web page of ${name}`;
  find("command").ariaLabel = `Command of ${name}, to copy`;
  find("python").ariaLabel = `Python of ${name}, to copy`;
}

function showAbout(piece, item, find) {
  item.classList.toggle("writing", !piece.done);
  item.classList.toggle("starred", Boolean(piece.starred));
  find("star").ariaPressed = String(Boolean(piece.starred));
  find("about").textContent = `seed ${piece.made.seed} · `
    + `${counted(newNotes(piece).length, "note")}${piece.stopped ? " · stopped" : ""}`;
  find("empty").hidden = !isNearlyEmpty(piece);
  showWav(find("wav"), piece);
  for (const name of ["continue", "midi", "page", "command", "python", "discard"]) {
    find(name).disabled = !piece.done
      || (name !== "discard" && !piece.notes.length);
  }
}

function listen(piece, find) {
  on(find("play"), "click", () => toggle(piece));
  on(find("continue"), "click", () => continueFrom(piece));
  on(find("star"), "click", () => star(piece));
  on(find("again"), "click", () => writeAgain(piece));
  on(find("midi"), "click", () => download(piece, "midi"));
  on(find("wav"), "click", () => download(piece, "wav"));
  on(find("page"), "click", () => savePage(piece));
  on(find("command"), "click", () => copy(piece, asCommand));
  on(find("python"), "click", () => copy(piece, asPython));
  on(find("discard"), "click", () => discard(piece));
}

function continueFrom(piece) {
  work.goOn(piece);
  $("write").focus();
  $("piece").scrollIntoView({ block: "start" });
}

function star(piece) {
  piece.starred = !piece.starred;
  cards.get(piece).update();
  work.tell("change");
}

function discard(piece) {
  const { base } = work;
  const { offers } = base;
  const before = offers.pieces;
  offers.pieces = before.filter((other) => other !== piece);
  const revert = () => {
    const isThere = (other) => other === piece || offers.pieces.includes(other);
    const later = offers.pieces.filter((other) => !before.includes(other));
    offers.pieces = [...before.filter(isThere), ...later];
    showCards();
  };
  base.reverts.push(revert);
  showCards();
  work.tell("change");
  say(`${piece.name} is discarded.`, {
    label: "Undo", action: () => work.takeBack(base, revert),
  });
}

work.on("piece", showCards);
work.on("offers", showCards);

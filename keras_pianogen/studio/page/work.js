// The work: the piece that is worked on, and the way back and forth.
//
// It tells events, such as "leave" before another piece is taken, "piece" when
// one was, and "change" whenever there is something new to keep. "duet" is told
// before a duet begins.

import { newPiece } from "/pieces.js";

const STEPS = 100; // that can be undone,
const MOST = 2e6; // unless they have more notes and movements of controllers

const sizeOf = ({ notes, moves }) => notes.length + (moves?.length ?? 0);

class Work extends EventTarget {
  base = newPiece({ name: "New piece" });

  set(piece) {
    this.tell("leave");
    this.base = piece;
    this.tell("piece");
    this.tell("change");
  }

  // Take a piece that comes from the present one; undo goes back.
  goOn(piece) {
    piece.parent = this.base;
    this.base.next = piece;
    this.forget();
    this.set(piece);
  }

  get canUndo() {
    return Boolean(this.base.reverts.length || this.base.parent);
  }

  undo() {
    const { parent, reverts } = this.base;
    if (reverts.length) {
      this.takeBack(this.base, reverts.at(-1));
      return;
    }
    if (!parent) return;
    parent.next = this.base;
    this.set(parent);
  }

  // Take back one of a piece's reverts, also when another piece is worked on.
  takeBack(piece, revert) {
    if (!piece.reverts.includes(revert)) return;
    piece.reverts = piece.reverts.filter((other) => other !== revert);
    revert();
    this.tell("change");
  }

  redo() {
    if (this.base.next) this.set(this.base.next);
  }

  // The browser's database keeps each step whole, so that their size is bounded.
  forget() {
    let piece = this.base;
    let size = sizeOf(piece);
    for (let i = 1; i < STEPS && piece.parent && size <= MOST; i++) {
      piece = piece.parent;
      size += sizeOf(piece);
    }
    let old = piece.parent;
    piece.parent = null;
    while (old) { // A candidate may still need the notes that it was written for.
      const { parent } = old;
      old.parent = old.next = old.from = null;
      old = parent;
    }
  }

  tell(name) {
    this.dispatchEvent(new Event(name));
  }

  on(name, action) {
    this.addEventListener(name, action);
  }
}

export const work = new Work();

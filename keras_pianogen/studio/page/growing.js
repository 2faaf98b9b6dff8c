// A piece that is being played: notes sound and grow while their keys are held.

import { inMilliseconds } from "/pieces.js";
import { showBase } from "/panel.js";
import { audio, release, strike } from "/sound.js";
import { work } from "/work.js";

const SHORTEST = 0.03; // seconds of a note

export class Growing {
  // `from` is the time in the piece at which playing begins, `shown` how many
  // seconds are seen at least.
  constructor(piece, { from = 0, shown = 4 } = {}) {
    Object.assign(this, { piece, from, shown });
    this.began = performance.now();
    this.open = { mine: new Map(), partner: new Map() }; // pitch → {note, voice}
    this.isOver = false;
    this.grow();
  }

  get isSilent() {
    return !this.open.mine.size && !this.open.partner.size;
  }

  now() {
    return inMilliseconds(this.from + (performance.now() - this.began) / 1000);
  }

  grow() {
    if (this.isOver) return;
    if (!this.isSilent) this.show();
    requestAnimationFrame(() => this.grow());
  }

  show() {
    const { piece } = this;
    piece.until = this.now();
    piece.planned = Math.max(this.shown, piece.until + 2);
    if (work.base === piece) showBase();
  }

  down(pitch, velocity, { who = "mine", source } = {}) {
    this.up(pitch, who);
    const note = { start: this.now(), end: null, pitch, velocity };
    const voice = strike(pitch, velocity, audio().currentTime, source);
    this.open[who].set(pitch, { note, voice });
    this.piece.notes.push(note);
    this.show();
    work.tell("change");
  }

  up(pitch, who = "mine") {
    const held = this.open[who].get(pitch);
    if (!held) return;
    this.open[who].delete(pitch);
    held.note.end = Math.max(this.now(), held.note.start + SHORTEST);
    release(held.voice, audio().currentTime);
    this.show();
    work.tell("change");
  }

  // Nothing is played into the piece any longer: all its notes have an end.
  end() {
    for (const [who, open] of Object.entries(this.open)) {
      for (const pitch of [...open.keys()]) this.up(pitch, who);
    }
    this.isOver = true;
    const { piece } = this;
    piece.notes = [...piece.notes]; // Other notes than those kept last.
    piece.until = 0;
    piece.planned = null;
    piece.position = 0;
    if (work.base === piece) showBase();
    work.tell("played");
    work.tell("change");
  }
}

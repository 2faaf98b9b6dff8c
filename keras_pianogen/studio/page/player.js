// Plays a piece, also one that is still being written. Times in seconds.
//
// Notes are given to the audio's clock a little ahead. Where the music is not
// known yet, the player waits, then goes on.

import { countBefore, endOf, keyUp } from "/pieces.js";
import { RESTS, damperOf, playedMoves } from "/pedal.js";
import { audio, control, movesPedals, release, rest, silence, strike } from "/sound.js";

const AHEAD = 0.3;
const AHEAD_HIDDEN = 2.5; // timers of hidden pages are slow
const BEFORE_LOOP = 0.12; // before its end, when a loop begins again
// Controllers that are left alone: those that choose sounds and tunings for good,
// and those that end notes, which end by themselves.
const isForeign = (number) => number >= 120 || (number >= 96 && number <= 101)
  || [0, 6, 32, 38].includes(number);
const SAME = 0.001; // between two times that are meant as one
const MARGIN = 0.6; // of known music, before a player that waited goes on

export class Player {
  // `onMove(piece)` is called at each frame, and once when playing ends;
  // `startOf(piece)` says where to begin again.
  constructor(onMove, startOf) {
    this.onMove = onMove;
    this.startOf = startOf;
    this.piece = null;
    this.playing = false;
    this.loop = null; // {piece, start, end}: what is played again and again
    this.held = 0; // the position while the clock stands still
    this.voices = []; // {note, sound, isReleased}, as long as they may be heard
    this.frame = 0; // the request for the next frame
    setInterval(() => this.tick(), 60);
  }

  onPlay() {}

  get position() {
    if (!this.playing || this.started === null) return this.held;
    const passed = audio().currentTime - this.started;
    return Math.max(this.from, this.from + passed);
  }

  play(piece, from) {
    if (this.playing) this.pause();
    audio();
    this.piece = piece;
    this.playing = true;
    this.onPlay();
    this.held = from;
    this.started = null;
    this.scheduled = from;
    this.tick();
    cancelAnimationFrame(this.frame);
    const frame = () => {
      if (!this.playing) return;
      this.onMove(piece);
      this.frame = requestAnimationFrame(frame);
    };
    this.frame = requestAnimationFrame(frame);
  }

  pause() {
    if (!this.playing) return;
    this.held = this.position;
    this.playing = false;
    this.voices.forEach((voice) => silence(voice.sound));
    this.voices = [];
    rest();
    this.piece.position = this.held;
    this.onMove(this.piece);
  }

  tick() {
    if (!this.playing) return;
    const { piece } = this;
    const known = piece.done ? Infinity : piece.until;
    if (this.started === null) {
      if (!piece.done && known < this.held + MARGIN) return;
      this.from = this.held;
      this.started = audio().currentTime + 0.05;
      this.setPedals(this.started, this.held);
    }
    const position = this.position;
    piece.position = position;
    if (position > known) { // It is written more slowly than it is played.
      this.held = position;
      this.started = null;
      return;
    }
    const loop = this.currentLoop();
    this.schedule(position, loop ? Math.min(known, loop.end) : known);
    if (loop && position > loop.end - BEFORE_LOOP) return this.wrap(loop);
    if (piece.done && position > endOf(piece) + 0.4) {
      this.voices = []; // All are let go, and ring out.
      this.pause();
      piece.position = this.startOf(piece);
      this.held = piece.position;
      this.onMove(piece);
    }
  }

  // The loop, unless playing began behind it.
  currentLoop() {
    const { loop } = this;
    return loop?.piece === this.piece && this.from < loop.end ? loop : null;
  }

  // Go on at the loop's start, at the very moment of its end.
  wrap({ start, end }) {
    this.started += end - this.from;
    this.voices.forEach((voice) => this.letGo(voice, this.started));
    this.from = this.scheduled = start;
    this.setPedals(this.started, start);
  }

  // Where playing begins, controllers stand as their latest movements left them.
  setPedals(when, time) {
    if (!movesPedals()) return;
    const latest = new Map();
    for (const [at, number, value] of playedMoves(this.piece)) {
      if (at < time) latest.set(number, value);
      else if (RESTS.has(number) && !latest.has(number)) {
        latest.set(number, RESTS.get(number));
      }
    }
    for (const [number, value] of latest) this.move(number, value, when);
  }

  move(number, value, when) {
    if (!isForeign(number)) control(number, value, when);
  }

  schedule(position, known) {
    const ahead = document.hidden ? AHEAD_HIDDEN : AHEAD;
    const until = Math.min(position + ahead, known);
    const at = (time) => this.started + time - this.from;
    const { notes } = this.piece;
    if (movesPedals()) {
      for (const [time, number, value] of playedMoves(this.piece)) {
        if (time >= until) break;
        if (time >= this.scheduled) this.move(number, value, at(time));
      }
    }
    for (let i = countBefore(notes, this.scheduled); i < notes.length; i++) {
      const note = notes[i];
      if (note.start >= until) break;
      const sound = strike(note.pitch, note.velocity, at(note.start));
      this.voices.push({ note, sound });
    }
    this.scheduled = Math.max(this.scheduled, until);
    for (const voice of this.voices) {
      const end = movesPedals() ? keyUp(voice.note) : voice.note.end;
      if (end !== null && end < until) {
        this.letGo(voice, at(end), this.damper(voice.note));
      }
    }
    const now = audio().currentTime;
    this.voices = this.voices.filter(({ isReleased, sound }) =>
      !isReleased || sound.ends > now);
  }

  letGo(voice, when, damper) {
    if (voice.isReleased) return;
    voice.isReleased = true;
    release(voice.sound, when, damper);
  }

  // How a note of a file is damped under the file's pedal. One that is struck again
  // ends at once.
  damper({ end, pitch, up }) {
    const { notes, moves } = this.piece;
    if (up === undefined || !moves) return undefined;
    for (let i = countBefore(notes, end - SAME); notes[i]?.start < end + SAME; i++) {
      if (notes[i].pitch === pitch) return undefined;
    }
    return (least) => damperOf(moves, end, least);
  }
}

// The player of one piece, with the names of an <audio>. Times in seconds.

import { endOf } from "/pieces.js";
import { Player } from "/player.js";

export class Clock extends EventTarget {
  constructor(notes) {
    super();
    this.piece = { notes, done: true, until: 0, position: 0 };
    this.player = new Player(() => this.tell("move"), () => 0);
  }

  get duration() {
    return endOf(this.piece);
  }

  get paused() {
    return !this.player.playing;
  }

  get currentTime() {
    return this.paused ? this.piece.position : this.player.position;
  }

  set currentTime(time) {
    const { paused } = this;
    this.player.pause();
    this.piece.position = Math.min(Math.max(time, 0), this.duration);
    this.tell("seeking");
    if (!paused) this.play();
  }

  play() {
    if (this.currentTime >= this.duration) this.piece.position = 0;
    this.player.play(this.piece, this.piece.position);
    this.tell("play");
  }

  pause() {
    this.player.pause();
    this.tell("move");
  }

  tell(name) {
    this.dispatchEvent(new Event(name));
  }
}

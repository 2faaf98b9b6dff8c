// An instrument at a MIDI port, which sounds in place of the page.
//
// `player.js` asks for notes ahead of time, on the audio's clock in seconds. They
// wait here until shortly before, because what a port has can't be taken back.

import { PEDALS, RESTS } from "/pedal.js";
import { audio } from "/sound.js";

const [ON, OFF, CONTROL] = [0x90, 0x80, 0xb0];
const KEYS_OFF = 123; // the controller that lets all keys go
const TICK = 20; // milliseconds
const AHEAD = 50; // milliseconds before its time, a message goes to the port
const TICKS = 100; // compared, to tell what the audio's clock shows late
const STOPPED = 50; // milliseconds that the audio's clock lags, if it stood still

// The difference between the page's clock and the audio's, in milliseconds. The
// audio's clock goes on in steps of 3 to 20 ms, so it is right just after a step,
// where the difference is least, and late otherwise.
class Difference {
  constructor() {
    this.seen = [];
  }

  look() {
    const now = performance.now() - 1000 * audio().currentTime;
    if (now > this.least() + STOPPED) this.seen = [];
    this.seen.push(now);
    if (this.seen.length > TICKS) this.seen.shift();
  }

  least() {
    return Math.min(...this.seen);
  }
}

export class Instrument {
  constructor(port) {
    this.port = port;
    this.name = port.name;
    this.waiting = []; // {when, message, voice}, in order; seconds of the audio
    this.down = new Map(); // pitch → the voice that holds it
    this.moved = new Set(); // controllers, since they last came to rest
    this.difference = new Difference();
    this.difference.look();
    this.timer = setInterval(() => this.tick(), TICK);
  }

  // A key goes down at `when`. `source` names the keyboard that was played, if any:
  // where it is this instrument's own, it has sounded already.
  strike(pitch, velocity, when, source) {
    const voice = { instrument: this, pitch, ends: Infinity };
    if (source !== this.name) this.add(when, [ON, pitch, velocity], voice);
    return voice;
  }

  release(voice, when) {
    voice.ends = when;
    this.add(when, [OFF, voice.pitch, 0], voice);
  }

  // At once, and none of what waits for its time.
  silence(voice) {
    this.waiting = this.waiting.filter((entry) => entry.voice !== voice);
    this.lift(voice, this.soonest());
  }

  control(number, value, when) {
    this.add(when, [CONTROL, number, value], null);
  }

  // Controllers that were moved come to rest at once, and no movement waits.
  rest() {
    this.waiting = this.waiting.filter((entry) => entry.voice);
    const at = this.soonest();
    for (const [number, value] of RESTS) {
      if (this.moved.has(number)) this.send([CONTROL, number, value], at);
    }
    this.moved.clear();
  }

  // All keys and pedals are let go, and nothing waits any longer.
  quiet() {
    this.waiting = [];
    const at = this.soonest();
    for (const voice of this.down.values()) this.lift(voice, at);
    for (const pedal of PEDALS) this.moved.add(pedal);
    this.rest();
    this.send([CONTROL, KEYS_OFF, 0], at);
  }

  close() {
    this.quiet();
    clearInterval(this.timer);
  }

  add(when, message, voice) {
    let place = this.waiting.length;
    while (place && this.waiting[place - 1].when > when) place -= 1;
    this.waiting.splice(place, 0, { when, message, voice });
    this.flush();
  }

  tick() {
    this.difference.look();
    this.flush();
  }

  flush() {
    const difference = this.difference.least();
    const until = (performance.now() + AHEAD - difference) / 1000;
    while (this.waiting.length && this.waiting[0].when <= until) {
      const { when, message, voice } = this.waiting.shift();
      const at = 1000 * when + difference;
      const [kind, pitch] = message;
      if (kind === OFF) this.lift(voice, at);
      else {
        if (kind === ON) {
          if (this.down.has(pitch)) this.lift(this.down.get(pitch), at);
          this.down.set(pitch, voice);
        } else this.moved.add(pitch); // The byte names a controller here.
        this.send(message, at);
      }
    }
  }

  lift(voice, at) {
    if (this.down.get(voice.pitch) !== voice) return;
    this.down.delete(voice.pitch);
    this.send([OFF, voice.pitch, 0], at);
  }

  // What was sent ahead of its time comes first.
  soonest() {
    return Math.max(performance.now(), this.sent || 0);
  }

  send(message, at) {
    this.sent = Math.max(this.sent || 0, at);
    if (this.port.state !== "disconnected") this.port.send(message, at);
  }
}

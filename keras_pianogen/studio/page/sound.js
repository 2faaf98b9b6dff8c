// A piano made of sine waves. Times in seconds, on the audio's clock.
//
// Each third semitone is computed once: stretched partials, weaker where the
// hammer strikes, the higher ones gone sooner. Other pitches play one of
// these a little faster or slower.

const RATE = 24000; // samples a second: partials above 12 kHz are left out
const PARTIALS = 14;
const STEP = 3; // semitones from one computed tone to the next
const RELEASE = 0.09; // seconds to 1/e after a key is let go
const LOUDNESS = 0.34;

const tones = new Map();
let context = null;
let master = null;

// The clock of the audio; browsers start it only after a click or a key.
export function audio() {
  if (!context) {
    context = new AudioContext({ latencyHint: "interactive" });
    const limiter = new DynamicsCompressorNode(context, {
      threshold: -14, knee: 10, ratio: 6, attack: 0.004, release: 0.2,
    });
    master = new GainNode(context, { gain: 0.9 });
    master.connect(limiter).connect(context.destination);
  }
  if (context.state === "suspended") context.resume();
  return context;
}

function frequency(pitch) {
  return 440 * 2 ** ((pitch - 69) / 12);
}

function computeTone(pitch) {
  const low = 2 ** ((60 - pitch) / 20); // low strings sound longer
  const seconds = Math.min(7, Math.max(1.2, 4.5 * low));
  const samples = new Float32Array(Math.floor(seconds * RATE));
  const stretch = 0.0003 * 2 ** ((pitch - 60) / 14);
  for (let k = 1; k <= PARTIALS; k++) {
    const f = frequency(pitch) * k * Math.sqrt(1 + stretch * k * k);
    if (f > 0.46 * RATE) break;
    const strength = Math.abs(Math.sin(Math.PI * k / 7.5)) / k ** 1.15;
    const decay = Math.min(1.3, 1.1 * low) / (1 + 0.22 * (k - 1));
    addPartial(samples, f, strength, decay);
  }
  shapeEnds(samples);
  return bufferOf(samples);
}

// Two strings, a little apart: the sum fades fast at first, then slowly.
function addPartial(samples, f, strength, decay) {
  for (const [detune, share, slow] of [[0, 0.6, 1], [0.35, 0.4, 2.6]]) {
    const w = 2 * Math.PI * (f + detune) / RATE;
    const r = Math.exp(-1 / (decay * slow * RATE));
    const a = 2 * r * Math.cos(w);
    const b = r * r;
    let before = 0;
    let now = strength * share * r * Math.sin(w);
    for (let i = 1; i < samples.length; i++) {
      samples[i] += now;
      const next = a * now - b * before;
      before = now;
      now = next;
    }
  }
}

function shapeEnds(samples) {
  const attack = Math.floor(0.003 * RATE);
  const fade = Math.floor(0.3 * RATE);
  for (let i = 0; i < attack; i++) samples[i] *= i / attack;
  for (let i = 0; i < fade; i++) samples[samples.length - 1 - i] *= i / fade;
}

function bufferOf(samples) {
  const buffer = new AudioBuffer({
    length: samples.length, sampleRate: RATE, numberOfChannels: 1,
  });
  buffer.copyToChannel(samples, 0);
  return buffer;
}

function tone(pitch) {
  if (!tones.has(pitch)) tones.set(pitch, computeTone(pitch));
  return tones.get(pitch);
}

// Compute the tones while nothing else is to be done.
export function prepare() {
  const pitches = [];
  for (let pitch = 60; pitch <= 108; pitch += STEP) pitches.push(pitch);
  for (let pitch = 57; pitch >= 21; pitch -= STEP) pitches.push(pitch);
  const idle = window.requestIdleCallback || ((f) => setTimeout(f, 30));
  const one = () => {
    const pitch = pitches.shift();
    if (pitch === undefined) return;
    tone(pitch);
    idle(one);
  };
  idle(one);
}

// A key goes down at `when`. Returns what `release` takes.
export function strike(pitch, velocity, when) {
  const clock = audio();
  const near = Math.min(108, Math.max(21, Math.round(pitch / STEP) * STEP));
  const force = velocity / 127;
  const source = new AudioBufferSourceNode(clock, {
    buffer: tone(near), playbackRate: 2 ** ((pitch - near) / 12),
  });
  const colour = new BiquadFilterNode(clock, {
    type: "lowpass", Q: 0.3,
    frequency: Math.min(11000, 700 + frequency(pitch) * (1 + 9 * force)),
  });
  const level = new GainNode(clock, { gain: LOUDNESS * force ** 1.5 });
  source.connect(colour).connect(level).connect(master);
  source.start(Math.max(when, clock.currentTime));
  return { source, level };
}

export function release(voice, when) {
  const at = Math.max(when, context.currentTime);
  voice.level.gain.setTargetAtTime(0, at, RELEASE);
  voice.source.stop(at + 8 * RELEASE);
}

// At once, whether it has begun or not.
export function silence(voice) {
  const now = context.currentTime;
  voice.level.gain.cancelScheduledValues(now);
  voice.level.gain.setTargetAtTime(0, now, 0.02);
  voice.source.stop(now + 0.15);
}

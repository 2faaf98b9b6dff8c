// The piano in a page. Times in seconds, on the audio's clock.
//
// The tones are those of `keras_pianogen.render`: every third pitch, struck softly
// and hard. A note plays the nearest pitch, a little faster or slower. Of the built-in
// piano it mixes the two strokes, of a SoundFont it takes the nearer one. Before its tones are there, the next best sounds instead, so that no
// note is late.

const LOUDNESS = 0.3; // brings a piece of MAESTRO to about -20 LUFS
const PLAIN = { seconds: 3, attack: 0.003, rate: 24000 };
const SILENCE = 0.02; // seconds to 1/e where playing is stopped

let context = null;
let strings = null; // all notes sound into it
let limiter = null;
let piano = null;
const tones = new Map(); // pitch → its buffers, [soft, hard]
const plainTones = new Map();

function makeContext() {
  context = new AudioContext({ latencyHint: "interactive" });
  strings = new GainNode(context, { gain: LOUDNESS });
  limiter = new DynamicsCompressorNode(context, {
    threshold: -6, knee: 3, ratio: 12, attack: 0.002, release: 0.25,
  });
  strings.connect(limiter).connect(context.destination);
  addRoom();
}

// The clock of the audio; browsers start it only after a click or a key.
export function audio() {
  if (!context) makeContext();
  if (context.state === "suspended") context.resume();
  return context;
}

// `piano` is what keras_pianogen/rendering/tones.py or sampled_tones.py writes.
// `make(piano, order, keep)` makes its tones, see tones.js.
export function load(newPiano, make) {
  piano = newPiano;
  if (context) addRoom();
  else makeContext(); // Now, because it takes time that a click hasn't.
  // Each octave first, so that all keys soon have a neighbour.
  const ordered = piano.tones
    .map((tone) => [Math.abs(tone.pitch - 60) % 12 ? 1 : 0, tone])
    .sort((a, b) => a[0] - b[0]).map(([, tone]) => tone);
  const order = [1, 0].flatMap((hard) =>
    ordered.map((tone) => ({ tone, hard })));
  return make(piano, order, keep);
}

function keep({ pitch, hard, channels }) {
  const buffers = tones.get(pitch) || [null, null];
  buffers[hard] = bufferOf(channels, piano.rate);
  tones.set(pitch, buffers);
  dispatchEvent(new CustomEvent("tone", { detail: { pitch, hard } }));
}

function bufferOf(channels, sampleRate) {
  const buffer = new AudioBuffer({
    length: channels[0].length, numberOfChannels: channels.length, sampleRate,
  });
  channels.forEach((samples, i) => buffer.copyToChannel(samples, i));
  return buffer;
}

async function addRoom() {
  if (!context || !piano?.room) return;
  const file = Uint8Array.from(atob(piano.room.wav), (c) => c.charCodeAt(0));
  const buffer = await context.decodeAudioData(file.buffer);
  const gain = piano.room.gain / context.sampleRate;
  strings.connect(new GainNode(context, { gain }))
    .connect(new ConvolverNode(context, { buffer, disableNormalization: true }))
    .connect(limiter);
}

// A few harmonics, while nothing better is computed.
function plainTone(pitch) {
  const { seconds, attack, rate } = PLAIN;
  const hertz = 440 * 2 ** ((pitch - 69) / 12);
  const samples = new Float32Array(seconds * rate);
  for (let k = 1; k <= 5 && k * hertz < 0.4 * rate; k++) {
    for (let i = 0; i < samples.length; i++) {
      const t = i / rate;
      samples[i] += 0.5 / k ** 1.5 * Math.exp(-(1.5 + k / 2) * t)
        * Math.min(1, t / attack, 4 * (seconds - t))
        * Math.sin(2 * Math.PI * k * hertz * t);
    }
  }
  return bufferOf([samples], rate);
}

// The buffers that play a pitch, each with its share, and their own pitch.
function choose(pitch, hardness) {
  const near = [...tones.keys()]
    .sort((a, b) => Math.abs(a - pitch) - Math.abs(b - pitch))[0];
  if (near === undefined || Math.abs(near - pitch) > 12) {
    if (!plainTones.has(pitch)) plainTones.set(pitch, plainTone(pitch));
    return { parts: [[plainTones.get(pitch), 1]], near: pitch };
  }
  const [soft, hard] = tones.get(near);
  const both = soft && hard;
  return {
    parts: [[soft, both ? 1 - hardness : 1], [hard, both ? hardness : 1]]
      .filter(([buffer, share]) => buffer && share),
    near,
  };
}

let instrument = null;

// Have another instrument sound in place of the page: an `Instrument`, or null.
export function playOn(other) {
  instrument = other;
}

// Whether pedals move by themselves, so that keys go up when they went up.
export const movesPedals = () => Boolean(instrument);

// Move a pedal or another controller at `when`.
export function control(number, value, when) {
  instrument?.control(number, value, when);
}

// Controllers that were moved come to rest at once.
export const rest = () => instrument?.rest();

// A key goes down at `when`; see `Instrument.strike` for `source`. Returns what
// `release` takes.
export function strike(pitch, velocity, when, source) {
  if (instrument) return instrument.strike(pitch, velocity, when, source);
  const clock = audio();
  const [gain, hardness] = piano?.velocities[velocity]
    || [(velocity / 127) ** 2, 1];
  const level = new GainNode(clock, { gain });
  level.connect(strings);
  const { parts, near } = choose(pitch, hardness);
  const sources = parts.map(([buffer, share]) => {
    const source = new AudioBufferSourceNode(clock, {
      buffer, playbackRate: 2 ** ((pitch - near) / 12),
    });
    source.connect(new GainNode(clock, { gain: share })).connect(level);
    source.start(Math.max(when, clock.currentTime));
    return source;
  });
  const ends = Math.max(when, clock.currentTime) + Math.max(...sources.map(
    ({ buffer, playbackRate }) => buffer.duration / playbackRate.value));
  return { pitch, gain, level, sources, near, ends };
}

// The damper falls on the strings. The highest have none. `damperOf(least)` says how
// it comes down under a pedal, see pedal.js; else it does so at once.
export function release(voice, when, damperOf) {
  if (voice.instrument) return voice.instrument.release(voice, when);
  return damp(voice, when, damperOf);
}

const atOnce = (least) => ({ seconds: least, ways: null });

function damp(voice, when, damperOf = atOnce) {
  if (piano && voice.pitch >= piano.undamped) return;
  const at = Math.max(when, context.currentTime);
  const tone = piano?.tones.find(({ pitch }) => pitch === voice.near);
  const curve = piano?.release || [1, 0.4, 0.15, 0.05, 0];
  const { seconds, ways } = damperOf(tone?.release || 0.3);
  const gains = ways ? ways.map((way) => along(curve, way)) : curve;
  voice.level.gain.setValueCurveAtTime(
    gains.map((value) => voice.gain * value), at, seconds);
  for (const source of voice.sources) source.stop(at + seconds);
  voice.ends = Math.min(voice.ends, at + seconds);
}

// The value of a curve of even steps at a share of its length.
function along(curve, share) {
  const place = share * (curve.length - 1);
  const left = Math.min(Math.floor(place), curve.length - 2);
  return curve[left] + (curve[left + 1] - curve[left]) * (place - left);
}

// At once, whether it has begun or not, and whether it is released or not: the
// curve of a release allows nothing else on the same gain.
export function silence(voice) {
  if (voice.instrument) return voice.instrument.silence(voice);
  return cut(voice);
}

function cut(voice) {
  const now = context.currentTime;
  const fade = new GainNode(context);
  fade.gain.setTargetAtTime(0, now, SILENCE);
  voice.level.disconnect();
  voice.level.connect(fade).connect(strings);
  for (const source of voice.sources) source.stop(now + 8 * SILENCE);
}

// One tone of the built-in piano: the sum of its waves. Times in seconds.
//
// A wave is [frequency, decay, amplitude at the left (real, imaginary), at the
// right, the share of it that a soft stroke has]. At the time t it is the real
// part of amplitude · exp(t · (-decay + 2πi · frequency)). See
// keras_pianogen/rendering/tones.py.

const FAINT = 1e-4; // a wave ends where it is fainter
const FADE = 0.25; // of a tone, at its end

export function computeTone(tone, hard, rate) {
  const count = Math.floor(tone.seconds * rate);
  const channels = [new Float32Array(count), new Float32Array(count)];
  for (const wave of tone.waves) addWave(channels, wave, hard, rate);
  for (const samples of channels) shape(samples, tone.attack * rate);
  return channels;
}

function addWave([left, right], wave, hard, rate) {
  const [hertz, decay, ...amplitudes] = wave;
  const share = amplitudes.pop();
  const [leftX, leftY, rightX, rightY] = hard ? amplitudes
    : amplitudes.map((part) => share * part);
  const size = Math.hypot(leftX, leftY, rightX, rightY);
  const seconds = Math.log(Math.max(1, size / FAINT)) / decay;
  const count = Math.min(left.length, Math.floor(seconds * rate));
  const turn = 2 * Math.PI * hertz / rate;
  const across = Math.exp(-decay / rate) * Math.cos(turn);
  const up = Math.exp(-decay / rate) * Math.sin(turn);
  let x = 1;
  let y = 0;
  for (let i = 0; i < count; i++) {
    left[i] += leftX * x - leftY * y;
    right[i] += rightX * x - rightY * y;
    const next = across * x - up * y;
    y = across * y + up * x;
    x = next;
  }
}

function shape(samples, attack) {
  for (let i = 0; i < attack; i++) {
    samples[i] *= 0.5 - 0.5 * Math.cos(Math.PI * i / attack);
  }
  const fade = Math.floor(FADE * samples.length);
  for (let i = 0; i < fade; i++) {
    samples[samples.length - 1 - i] *= 0.5 - 0.5 * Math.cos(Math.PI * i / fade);
  }
}

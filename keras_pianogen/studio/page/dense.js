// Many notes at once, put into an image pixel by pixel. A canvas's own
// rectangles take several times as long, too long for 60 frames a second.

const canvas = document.createElement("canvas");
const brush = canvas.getContext("2d", { willReadFrequently: true });
const parts = document.createElement("canvas").getContext("2d");
const shades = new WeakMap(); // palette → its shades as numbers
const NARROW = 24; // pixels that a loop fills sooner than a call
let image = null; // kept from frame to frame

// The four bytes of a colour as one number.
function numberOf(colour) {
  parts.fillStyle = colour;
  const [red, green, blue] = [1, 3, 5]
    .map((i) => parseInt(parts.fillStyle.slice(i, i + 2), 16));
  return new Uint32Array(new Uint8ClampedArray([red, green, blue, 255]).buffer)[0];
}

export class Dense {
  constructor(width, height, scale) {
    const [wide, high] = [width, height].map((x) => Math.round(x * scale));
    if (image?.width !== wide || image.height !== high) {
      canvas.width = wide;
      canvas.height = high;
      image = brush.createImageData(wide, high);
    }
    this.scale = scale;
    this.pixels = new Uint32Array(image.data.buffer);
    this.pixels.fill(0);
  }

  // The shades of a palette, as `fill` takes them.
  shades(palette) {
    if (!shades.has(palette)) {
      const { made, given, rung, pedal } = palette;
      const numbers = (list) => list.map(numberOf);
      shades.set(palette, {
        made: numbers(made), given: numbers(given), pedal: numberOf(pedal),
        rung: { made: numbers(rung.made), given: numbers(rung.given) },
      });
    }
    return shades.get(palette);
  }

  // A rectangle, one pixel at least each way.
  fill(number, x, y, long, tall) {
    const { scale, pixels } = this;
    const { width, height } = image;
    const left = Math.max(0, Math.round(x * scale));
    const right = Math.min(width, Math.max(left + 1, Math.round((x + long) * scale)));
    const top = Math.round(y * scale);
    const bottom = Math.min(height, Math.max(top + 1, Math.round((y + tall) * scale)));
    for (let line = top; line < bottom; line++) {
      const begin = line * width + left;
      const end = line * width + right;
      if (right - left > NARROW) pixels.fill(number, begin, end);
      else for (let i = begin; i < end; i++) pixels[i] = number;
    }
  }

  drawOn(other) {
    brush.putImageData(image, 0, 0);
    other.drawImage(canvas, 0, 0, canvas.width / this.scale, canvas.height / this.scale);
  }
}

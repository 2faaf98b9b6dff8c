// Many notes at once, put into an image pixel by pixel. A canvas's own
// rectangles take several times as long, too long for 60 frames a second.

const canvas = document.createElement("canvas");
const brush = canvas.getContext("2d", { willReadFrequently: true });
const parts = document.createElement("canvas").getContext("2d");
const numbers = new Map(); // colour → its four bytes as one number

function numberOf(colour) {
  if (!numbers.has(colour)) {
    parts.fillStyle = colour;
    const [red, green, blue] = [1, 3, 5]
      .map((i) => parseInt(parts.fillStyle.slice(i, i + 2), 16));
    const bytes = new Uint8ClampedArray([red, green, blue, 255]);
    numbers.set(colour, new Uint32Array(bytes.buffer)[0]);
  }
  return numbers.get(colour);
}

export class Dense {
  constructor(width, height, scale) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    this.scale = scale;
    this.image = brush.createImageData(canvas.width, canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  // A rectangle, one pixel at least each way.
  fill(colour, x, y, long, tall) {
    const { scale, pixels } = this;
    const { width, height } = canvas;
    const number = numberOf(colour);
    const left = Math.max(0, Math.round(x * scale));
    const right = Math.min(width, Math.max(left + 1, Math.round((x + long) * scale)));
    const top = Math.round(y * scale);
    const bottom = Math.min(height, Math.max(top + 1, Math.round((y + tall) * scale)));
    for (let line = top; line < bottom; line++) {
      pixels.fill(number, line * width + left, line * width + right);
    }
  }

  drawOn(other) {
    brush.putImageData(this.image, 0, 0);
    other.drawImage(canvas, 0, 0, canvas.width / this.scale, canvas.height / this.scale);
  }
}

// The page's piano: by pointer, by letters, by arrow keys, by MIDI.

const BLACK = new Set([1, 3, 6, 8, 10]);
const LETTERS = "awsedftgyhujkolp;";
const VELOCITY = 80; // where nothing says how hard a key was struck
const NAMES = ["C", "C sharp", "D", "D sharp", "E", "F", "F sharp", "G",
  "G sharp", "A", "A sharp", "B"];

// The name of a key on the keyboard, whatever is held beside it.
const nameOf = ({ code, key }) => code || key.toLowerCase();

export class Keys {
  // `onDown(pitch, velocity, source)` and `onUp(pitch)` are called for each key; the
  // source is the name of a MIDI keyboard.
  constructor(box, onDown, onUp) {
    this.box = box;
    this.low = 48;
    this.held = new Map(); // pitch → how many hold it
    this.onDown = onDown;
    this.onUp = onUp;
    this.letters = true;
    this.typed = new Map();
    this.struck = new Set(); // what sounds by MIDI: held, or by its pedal
    this.sustained = new Set(); // of these, what its pedal alone holds
    this.pedal = false;
    this.pointers = new Map();
    this.listen();
    new ResizeObserver(() => this.build()).observe(box);
    this.build();
  }

  get octaves() {
    const width = this.box.clientWidth;
    return width > 760 ? 3 : width > 480 ? 2 : 1;
  }

  shift(octaves) {
    this.low = Math.min(84, Math.max(24, this.low + 12 * octaves));
    this.built = null;
    this.build();
  }

  get last() {
    return this.start + 12 * this.octaves;
  }

  // The key that the first letter plays.
  get middle() {
    return this.start + (this.octaves > 1 ? 12 : 0);
  }

  useLetters(letters) {
    this.letters = letters;
    this.box.classList.toggle("lettered", letters);
  }

  // Show which keys a piece that plays holds down.
  light(pitches) {
    for (const key of this.box.querySelectorAll(".lit")) key.classList.remove("lit");
    for (const pitch of pitches) this.key(pitch)?.classList.add("lit");
  }

  build() {
    const { octaves } = this;
    const start = this.low + (octaves === 1 ? 12 : 0);
    if (this.built === `${octaves} ${start}`) return;
    this.built = `${octaves} ${start}`;
    this.start = start;
    const whites = octaves * 7 + 1;
    let place = 0;
    const keys = [];
    for (let pitch = start; pitch <= start + 12 * octaves; pitch++) {
      const key = this.makeKey(pitch);
      if (BLACK.has(pitch % 12)) {
        key.className = "black";
        key.style.left = `${100 * place / whites}%`;
        key.style.width = `${62 / whites}%`;
      } else {
        key.className = "white";
        place += 1;
      }
      keys.push(key);
    }
    keys[0].tabIndex = 0;
    this.box.replaceChildren(...keys);
  }

  makeKey(pitch) {
    const key = document.createElement("button");
    key.type = "button";
    key.tabIndex = -1;
    key.dataset.pitch = pitch;
    key.setAttribute("aria-label", `${NAMES[pitch % 12]} ${Math.floor(pitch / 12) - 1}`);
    const letter = document.createElement("kbd");
    letter.textContent = (LETTERS[pitch - this.middle] || "").toUpperCase();
    key.append(letter, pitch % 12 === 0 ? `C${pitch / 12 - 1}` : "");
    return key;
  }

  down(pitch, velocity, source) {
    const count = this.held.get(pitch) || 0;
    this.held.set(pitch, count + 1);
    if (count) return;
    this.key(pitch)?.classList.add("down");
    this.onDown(pitch, Math.max(1, Math.min(127, Math.round(velocity))), source);
  }

  up(pitch) {
    const count = this.held.get(pitch) || 0;
    if (!count) return;
    if (count > 1) {
      this.held.set(pitch, count - 1);
      return;
    }
    this.held.delete(pitch);
    this.key(pitch)?.classList.remove("down");
    this.onUp(pitch);
  }

  key(pitch) {
    return this.box.querySelector(`[data-pitch="${pitch}"]`);
  }

  listen() {
    this.box.addEventListener("pointerdown", (e) => this.touch(e));
    this.box.addEventListener("pointermove", (e) => {
      if (this.pointers.has(e.pointerId)) this.touch(e);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      window.addEventListener(end, (e) => this.lift(e));
    }
    this.box.addEventListener("keydown", (e) => this.walk(e));
    window.addEventListener("keydown", (e) => this.type(e));
    window.addEventListener("keyup", (e) => this.untype(e));
    window.addEventListener("blur", () => this.untypeAll());
  }

  touch(event) {
    if (event.button > 0) return;
    const key = document.elementFromPoint(event.clientX, event.clientY);
    const before = this.pointers.get(event.pointerId);
    const pitch = this.box.contains(key) && key.dataset.pitch
      ? Number(key.dataset.pitch) : null;
    if (event.type === "pointerdown") {
      if (pitch === null) return;
      key.releasePointerCapture?.(event.pointerId);
    }
    if (pitch === before) return;
    this.pointers.set(event.pointerId, pitch);
    if (before !== undefined && before !== null) this.up(before);
    if (pitch === null) return;
    const box = key.getBoundingClientRect();
    this.down(pitch, 45 + 65 * (event.clientY - box.top) / box.height);
  }

  lift(event) {
    const pitch = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    if (pitch !== undefined && pitch !== null) this.up(pitch);
  }

  // Arrow keys walk over the piano; space and enter play.
  walk(event) {
    const pitch = Number(event.target.dataset.pitch);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      event.preventDefault();
      const next = this.key(pitch + step);
      if (!next) return;
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    } else if (event.key === " " || event.key === "Enter") {
      event.preventDefault();
      this.hold(nameOf(event), pitch, event.repeat);
    }
  }

  type(event) {
    if (!this.letters || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input:not([type=range]):not([type=checkbox])"
      + ":not([type=radio]), select, textarea, dialog")) return;
    const place = LETTERS.indexOf(event.key.toLowerCase());
    if (place < 0 || event.key.length > 1) return;
    event.preventDefault();
    this.hold(nameOf(event), this.middle + place, event.repeat);
  }

  hold(name, pitch, repeated) {
    if (repeated || this.typed.has(name)) return;
    this.typed.set(name, pitch);
    this.down(pitch, VELOCITY);
  }

  untype(event) {
    // While Meta is held, macOS does not tell that other keys go up.
    if (event.key === "Meta") this.untypeAll();
    const name = nameOf(event);
    if (!this.typed.has(name)) return;
    this.up(this.typed.get(name));
    this.typed.delete(name);
  }

  untypeAll() {
    for (const pitch of this.typed.values()) this.up(pitch);
    this.typed.clear();
  }

  // A MIDI message of the keyboard of that name.
  hear([status, first, second], source) {
    const kind = status & 0xf0;
    if (kind === 0x90 && second > 0) {
      this.end(first);
      this.struck.add(first);
      this.down(first, second, source);
    } else if (kind === 0x80 || kind === 0x90) {
      if (this.pedal) this.sustained.add(first);
      else this.end(first);
    } else if (kind === 0xb0 && first === 64) {
      this.pedal = second >= 64;
      if (!this.pedal) this.sustained.forEach((pitch) => this.end(pitch));
    } else if (kind === 0xb0) this.onControl?.(first, second);
  }

  end(pitch) {
    this.sustained.delete(pitch);
    if (this.struck.delete(pitch)) this.up(pitch);
  }

  // A keyboard that is gone says nothing of its keys and its pedal.
  letGo() {
    this.pedal = false;
    this.struck.forEach((pitch) => this.end(pitch));
  }
}

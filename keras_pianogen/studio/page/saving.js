// Keeps the work in the browser's database, so that nothing is lost.
//
// Each tab has a work of its own, which it locks. A tab that is loaded again
// takes its own work; a new tab takes the latest that no other tab has open.

import { fromRecord, pack, reachable, toRecord } from "/records.js";
import { $, report } from "/saying.js";
import { keep, restore } from "/settings.js";
import { work } from "/work.js";

const KEPT_WORKS = 20;
const DELAY = 400; // milliseconds after a change
const AGAIN = 10000; // milliseconds until what failed is tried again
const RELOADED = 1500; // milliseconds until the page before gives up its lock

let database = null;
let id = null;
let timer = null;
let isSaved = true;
let isFailing = false;
const locks = new Map(); // name of a work → what gives it free
let kept = new Map(); // id of a piece → [notes, their number], as kept

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = request.oncomplete = () => resolve(request.result);
  request.onerror = request.onabort = () => reject(request.error);
});

async function connect() {
  const request = indexedDB.open("studio", 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("works", { keyPath: "id" });
    request.result.createObjectStore("notes");
  };
  return done(request);
}

// Lock a work for this tab, as long as it is open. Browsers have no locks on
// pages of plain http from other machines.
function lock(name, patience) {
  const options = patience ? { signal: AbortSignal.timeout(patience) }
    : { ifAvailable: true };
  return new Promise((resolve) => {
    navigator.locks.request(`studio ${name}`, options, (held) => {
      resolve(Boolean(held));
      return held && new Promise((unlock) => { locks.set(name, unlock); });
    }).catch(() => resolve(false));
  });
}

const newName = () => crypto.getRandomValues(new Uint32Array(2)).join("-");

// From now on this tab keeps its work under a name.
function claim(name) {
  id = name;
  kept = new Map();
  sessionStorage.setItem("work", name);
}

async function claimNew() {
  locks.get(id)?.();
  claim(newName());
  if (navigator.locks) await lock(id);
}

// Take up the work of this tab, or the latest that no other tab has open.
export async function resume() {
  try {
    database = await connect();
    const found = await latest();
    if (!found || !await isTaken(found)) await claimNew();
  } catch (error) {
    database = null;
    report(new Error(`This browser keeps no work: ${error.message}`));
  }
  work.on("change", changed);
  showSaved();
}

// A work that can't be read stays in the database; the tab begins a new one.
async function isTaken(record) {
  try {
    await take(record);
    return true;
  } catch (error) {
    report(new Error(`The work that was kept can't be read: ${error.message}`));
    return false;
  }
}

async function latest() {
  const own = sessionStorage.getItem("work");
  const works = await done(database.transaction("works")
    .objectStore("works").getAll());
  works.sort((a, b) => (b.id === own) - (a.id === own) || b.changed - a.changed);
  await forget(works.slice(KEPT_WORKS));
  for (const record of works) {
    if (!navigator.locks) return record;
    if (await lock(record.id, record.id === own && RELOADED)) return record;
  }
  return null;
}

// Works that other tabs have open are kept.
async function forget(works) {
  for (const { id: old } of works) {
    if (navigator.locks && !await lock(old)) continue;
    const change = database.transaction(["works", "notes"], "readwrite");
    change.objectStore("works").delete(old);
    change.objectStore("notes").delete(range(old));
    await done(change).finally(() => locks.get(old)?.());
  }
}

const range = (name) => IDBKeyRange.bound([name], [name, []]);

async function take(record) {
  const store = database.transaction("notes").objectStore("notes");
  const [names, values] = await Promise.all([
    done(store.getAllKeys(range(record.id))), done(store.getAll(range(record.id))),
  ]);
  const notes = new Map(names.map(([, piece], i) => [piece, values[i]]));
  const base = fromRecord(record, (piece) => notes.get(piece) || []);
  // Without locks another tab may have it open: this one goes on with a copy.
  const isOurs = navigator.locks || record.id === sessionStorage.getItem("work");
  if (isOurs) claim(record.id);
  else await claimNew();
  show(base, record.settings);
}

// Work on something else in this tab; what it had stays in the database.
export async function begin(base, settings) {
  if (timer) await save();
  await claimNew();
  show(base, settings);
}

function show(base, settings) {
  restore(settings);
  work.set(base);
}

function changed() {
  isSaved = false;
  showSaved();
  timer ??= setTimeout(save, DELAY);
}

async function save() {
  clearTimeout(timer);
  timer = null;
  if (!database) return;
  isSaved = true; // Unless there is a change meanwhile.
  try {
    await put(toRecord(work.base, keep()));
    isFailing = false;
  } catch (error) {
    fail(error);
  }
  showSaved();
}

// Nothing of it is in the database: all is put there again, later.
function fail(error) {
  isSaved = false;
  kept = new Map();
  timer ??= setTimeout(save, AGAIN);
  if (!isFailing) report(new Error(`The work could not be kept: ${error.message}`));
  isFailing = true;
}

async function put(record) {
  const change = database.transaction(["works", "notes"], "readwrite");
  change.objectStore("works").put({ ...record, id, changed: Date.now() });
  const store = change.objectStore("notes");
  for (const piece of reachable(work.base)) {
    const { notes } = piece;
    const [before, number] = kept.get(piece.id) || [];
    if (before === notes && number === notes.length) continue;
    store.put(pack(piece), [id, piece.id]);
    kept.set(piece.id, [notes, notes.length]);
  }
  const there = new Set(record.pieces.map((piece) => piece.id));
  for (const piece of kept.keys()) {
    if (there.has(piece)) continue;
    store.delete([id, piece]);
    kept.delete(piece);
  }
  change.commit(); // Also when the page is about to go.
  await done(change);
}

function showSaved() {
  $("saved").textContent = !database || isFailing ? "Not kept in this browser"
    : isSaved && !timer ? "Kept in this browser" : "Keeping …";
}

window.addEventListener("pagehide", () => timer && save());
document.addEventListener("visibilitychange", () => timer && save());
window.addEventListener("beforeunload", (event) => {
  if (timer) save();
  const isKept = isSaved && !isFailing;
  if (!isKept && (work.base.notes.length || work.base.offers.pieces.length)) {
    event.preventDefault();
  }
});

// Keeps a page as it is now: asks for the part that changes and swaps only what did. Without it the pages work too.
"use strict";

const EVERY_MS = 2000;
const SAY_EVERY_MS = 10000;

const live = document.getElementById("live");
const said = document.getElementById("said");
let etag = "";
let paused = false;
let asking = false;
let unsaid = 0;
let saidAt = 0;

// -- Times: the same words as rendering.py's, by the server's clock.

const skewMs = Date.parse(document.body.dataset.now) - Date.now();

function now() {
  return Date.now() + skewMs;
}

function ago(then) {
  const seconds = Math.floor((now() - then) / 1000);
  if (seconds < 1) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return then.toISOString().slice(0, 16).replace("T", " ");
}

function due(then) {
  const seconds = Math.floor((then - now()) / 1000);
  if (seconds < 1) return "now";
  return seconds < 60 ? `in ${seconds} s` : `in ${Math.floor(seconds / 60)} min`;
}

function tellTimes() {
  for (const [selector, words] of [["time[data-ago]", ago], ["time[data-due]", due]]) {
    for (const time of document.querySelectorAll(selector)) {
      const text = words(new Date(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  }
}

// -- Swapping: what has the same revision stays the same node, so that a selection or the focus in it stays too.

function mergeRows(rows, newRows) {
  const known = new Map(Array.from(rows.children, (row) => [row.id, row]));
  let changed = 0;
  let place = rows.firstElementChild;
  for (const newRow of Array.from(newRows.children)) {
    let row = known.get(newRow.id);
    known.delete(newRow.id);
    if (!row || row.dataset.rev !== newRow.dataset.rev) {
      newRow.classList.add("is-fresh");
      const focused = row && row.contains(document.activeElement);
      if (row) {
        if (place === row) place = row.nextElementSibling;
        row.remove();
      }
      row = newRow;
      changed += 1;
      rows.insertBefore(row, place);
      if (focused) row.querySelector("a")?.focus();
    } else if (row === place) {
      place = place.nextElementSibling;
    } else {
      rows.insertBefore(row, place);
    }
  }
  for (const gone of known.values()) gone.remove();
  return changed;
}

function merge(part, newPart) {
  if (part.dataset.kind === "table" && newPart.dataset.kind === "table") {
    const pager = part.querySelector("[data-part=pager]");
    const newPager = newPart.querySelector("[data-part=pager]");
    if (pager.dataset.rev !== newPager.dataset.rev) pager.replaceWith(newPager);
    return mergeRows(part.querySelector("[data-rows]"), newPart.querySelector("[data-rows]"));
  }
  if (part.dataset.rev && part.dataset.rev === newPart.dataset.rev) return 0;
  part.replaceWith(newPart);
  return part.dataset.part === "counts" ? 0 : 1;
}

function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  let changed = 0;
  for (const newPart of fresh.querySelectorAll("body > [data-part]")) {
    const part = document.querySelector(`main [data-part="${newPart.dataset.part}"]`);
    if (part) changed += merge(part, newPart);
  }
  tellTimes();
  return changed;
}

// Said aloud, but not every other second.
function say(changed) {
  unsaid += changed;
  if (!unsaid || Date.now() - saidAt < SAY_EVERY_MS) return;
  said.textContent = unsaid === 1 ? "One call changed." : `${unsaid} calls changed.`;
  unsaid = 0;
  saidAt = Date.now();
}

// -- Asking.

function tell(state, text) {
  live.className = `live ${state}`;
  const words = live.querySelector(".words");
  if (words.textContent !== text) words.textContent = text;
}

async function refresh() {
  if (asking || paused || document.hidden) return;
  asking = true;
  try {
    const address = new URL(location.href);
    address.searchParams.set("fragment", "1");
    const headers = etag ? { "If-None-Match": etag } : {};
    const answer = await fetch(address, { headers, cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (answer.status === 200) {
      say(show(await answer.text()));
      etag = answer.headers.get("ETag") ?? "";
    }
    if (answer.status === 200 || answer.status === 304) tell("is-live", "Live");
    else tell("is-lost", answer.status === 503 ? "The service waits for a part" : `The service answers ${answer.status}`);
  } catch {
    tell("is-lost", "The service does not answer");
  } finally {
    asking = false;
  }
}

function startRefreshing() {
  live.innerHTML = '<span class="dot"></span><span class="words"></span>';
  tell("is-live", "Live");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Pause";
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    tell(paused ? "is-paused" : "is-live", paused ? "Paused" : "Live");
    refresh();
  });
  live.append(button);
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, EVERY_MS);
}

// A page that waits for a part becomes the one that was asked for.
function startWaiting() {
  setInterval(async () => {
    if (document.hidden) return;
    const answer = await fetch("/readyz", { cache: "no-store" }).catch(() => null);
    if (answer && answer.ok) location.reload();
  }, EVERY_MS);
}

tellTimes();
setInterval(() => { if (!document.hidden) tellTimes(); }, 1000);
if (live) startRefreshing();
if (document.querySelector("[data-awaited]")) startWaiting();

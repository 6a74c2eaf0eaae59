// Small islands of every page: copy buttons, relative times, live numbers, and the stream's health.
// Custom elements, so that they also work in fragments that htmx swaps in. Texts come from data attributes.

/** [data-stream-root] (the element that holds the event stream) around `element`, or the document. */
const streamOf = (element) => element.closest("[data-stream-root]") ?? document;

/** The JSON of a named SSE message (hx-sse puts the text in detail.data), or null. */
function payload(event) {
  try {
    return typeof event.detail?.data === "string" ? JSON.parse(event.detail.data) : null;
  } catch {
    return null;
  }
}

const language = document.documentElement.lang || undefined;
const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });

/** Seconds as "4 min 10 s"; at most two units. */
function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** Bytes as "1.4 GB" (powers of 1000, as disks are sold and as the server writes them). */
function filesize(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(4, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power > 1 ? 1 : 0)} ${units[power]}`;
}

/** Four digits after the point; 4.101e9 where that would be a row of digits. */
const loss = (value) => (Math.abs(value) < 1e5 ? value.toFixed(4) : power(value, 3));
const power = (value, digits) => value.toExponential(digits).replace("+", "");

const formats = {
  number: (value) => whole.format(value),
  loss,
  rate: (value) => power(value, 2),
  fixed: (value) => value.toFixed(2),
  percent: (value) => `${Math.round(value * 100)} %`,
  filesize,
  duration,
  text: String,
};

// Shared with upload.js and chart.js. No import: static addresses carry a version, and a second address would run this file twice.
globalThis.tunedeck = { streamOf, payload, formats, duration, filesize };

/** <td-live on="metric" field="values.loss" format="loss">: a value that follows an SSE event. */
class Live extends HTMLElement {
  connectedCallback() {
    this.source = streamOf(this);
    this.hear = (event) => {
      let value = payload(event);
      for (const part of this.getAttribute("field").split(".")) value = value?.[part];
      if (value === undefined || value === null) return;
      this.textContent = formats[this.getAttribute("format") ?? "text"](value);
    };
    this.source.addEventListener(this.getAttribute("on"), this.hear);
  }

  disconnectedCallback() {
    this.source.removeEventListener(this.getAttribute("on"), this.hear);
  }
}

/** <td-copy data-text="…"><button>: gone where the browser has no clipboard (no script, or plain HTTP from afar). */
class Copy extends HTMLElement {
  connectedCallback() {
    const button = this.querySelector("button");
    if (!navigator.clipboard) return this.remove();
    const label = button.querySelector("span");
    const before = label.textContent;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(this.dataset.text);
      label.textContent = this.dataset.done;
      setTimeout(() => (label.textContent = before), 1600);
    });
  }
}


customElements.define("td-live", Live);
customElements.define("td-copy", Copy);

// --- progress: [data-live-progress="metric"] moves with {step, total_steps} or {done, total} and tells the time left.
const started = new WeakMap();

function moveProgress(box, data) {
  const done = data.step ?? data.done;
  const total = data.total_steps ?? data.total;
  if (done === undefined || !total) return;
  const bar = box.querySelector("progress");
  bar.max = total;
  bar.value = done;
  const first = started.get(box) ?? { done, at: performance.now() };
  started.set(box, first);
  const rate = (done - first.done) / (performance.now() - first.at);
  // The first steps are slow (compiling, filling caches): say nothing before there is something to go by.
  if (rate > 0 && done - first.done >= 3 && data.left === undefined) data.left = (total - done) / rate / 1000;
  if (data.left !== undefined) {
    const left = box.querySelector("[data-left]");
    left.textContent = (left.dataset.pattern ?? "{time}").replace("{time}", duration(data.left));
  }
  const text = box.querySelector("[data-text]");
  if (text.dataset.pattern) {
    const parts = { done: whole.format(done), total: whole.format(total), percent: Math.floor((100 * done) / total) };
    text.textContent = text.dataset.pattern.replace(/\{(\w+)\}/g, (_, name) => parts[name]);
  }
}

for (const name of ["metric", "phase"]) {
  document.addEventListener(name, (event) => {
    const data = payload(event);
    const root = event.target instanceof Element ? event.target : document;
    if (data) for (const box of root.querySelectorAll(`[data-live-progress="${name}"]`)) moveProgress(box, data);
  });
}

// What a button said it would do has happened, or something else has: the page itself tells now.
document.addEventListener("state", () => document.getElementById("flashes")?.replaceChildren());

// --- relative times: <time data-ago datetime> says "3 min ago", <time data-elapsed datetime> says how long it runs.
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });

function ago(seconds) {
  if (seconds < 60) return relative.format(0, "second");
  if (seconds < 3600) return relative.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86400) return relative.format(-Math.floor(seconds / 3600), "hour");
  return relative.format(-Math.floor(seconds / 86400), "day");
}

function tick() {
  for (const time of document.querySelectorAll("time[data-ago], time[data-elapsed]")) {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    time.textContent = "elapsed" in time.dataset ? duration(seconds) : ago(seconds);
  }
}
setInterval(tick, 30_000);

// --- the stream: opened when the page is first seen (a tab opened in the background holds no connection), tried again
// when the first request fails (hx-sse itself only retries a stream that has once been open).
const RETRY_MS = 3000;
const opening = new WeakSet();

function openStreams() {
  if (document.hidden) return;
  for (const root of document.querySelectorAll("[data-stream-root]")) {
    if (root._htmx?.sse || opening.has(root) || root.dataset.final !== undefined) continue;
    opening.add(root);
    root.dispatchEvent(new CustomEvent("td-connect"));
  }
}

const setStream = (state) => (document.documentElement.dataset.stream = state);
document.addEventListener("htmx:sse:after:connection", (event) => {
  opening.delete(event.target);
  setStream("open");
});
// The server says `end` when nothing more will come: no reconnecting, and nothing is wrong.
document.addEventListener("htmx:sse:close", (event) => {
  if (event.detail.reason === "message" && event.target instanceof Element) event.target.dataset.final = "";
});
document.addEventListener("htmx:sse:error", () => setStream("lost"));
document.addEventListener("htmx:finally:request", (event) => {
  const root = event.target;
  if (!(root instanceof Element) || !root.matches("[data-stream-root]")) return;
  opening.delete(root);
  if (root._htmx?.sse || root.dataset.final !== undefined) return;
  setStream("lost");
  setTimeout(openStreams, RETRY_MS);
});
document.addEventListener("visibilitychange", openStreams);
document.addEventListener("htmx:after:process", () => setTimeout(openStreams));
if (document.readyState === "complete") openStreams();
else addEventListener("load", () => setTimeout(openStreams));

// --- buttons: [data-fill="#field"] writes its value there, [data-dismiss=".box"] takes away the box around it.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-fill], button[data-dismiss]");
  if (button?.dataset.dismiss) button.closest(button.dataset.dismiss)?.remove();
  if (!button?.dataset.fill) return;
  const field = document.querySelector(button.dataset.fill);
  field.value = button.value;
  field.dispatchEvent(new Event("change", { bubbles: true }));
  field.focus();
});

// --- an error summary takes the focus, so that it is read first.
const focusErrors = () => document.querySelector("main > [data-focus]")?.focus();
document.addEventListener("htmx:after:swap", focusErrors);
focusErrors();
tick();

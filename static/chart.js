// Over 300 lines: one element with its data, its window on them and its drawing, which all change together.
// <td-chart data-src="/jobs/1/metrics.json" data-series="loss,eval_loss">: one live line chart (uPlot), drawn at most once a frame.
//
// Data: GET data-src -> {"series": {"loss": [[steps], [values]], …}, "seq": n}. Charts with the same address share one request.
// with "axis" (chart-tools.js); with ?start=&stop= the points between, when the answer said that it is "thinned".
// Live: hx-sse 4.0.1 turns each NAMED message of the stream into a DOM event of that name on the element with hx-sse:connect
// (CustomEvent, bubbles; detail = {data: text, id: the message's id}) and swaps only unnamed ones. So this file listens for
//   metric  detail.data = {"step": 12, "values": {"loss": 1.23}, "attempt": 1}; events with id <= seq are already in the data
//   gpu     the same shape: how the machine fares        checkpoint  detail.data = {"step": 12}: marked on the axis
//   reset   the server could not replay (too far behind): fetch again
// on [data-stream-root] around the chart, else on document. A step that comes again (a later attempt) replaces what followed it.
// hx-sse reconnects by itself with the Last-Event-ID header; the address keeps the ?after= of the page for the first request.

const { streamOf, payload, formats } = globalThis.tunedeck; // ui.js runs before this module
const { FEW, smooth, faint, Axis, mark, picture } = globalThis.tunedeck.chart; // so does chart-tools.js
const MAX_POINTS = 20_000; // beyond it the server thins better than we do: fetch again
const SETTLED_MS = 250; // after a zoom: then the exact points are asked for
const requests = new Map();

// Shared by the charts that are made together, and by no later one: it has not heard what came in between.
function fetchSeries(src) {
  if (!requests.has(src)) {
    const request = fetch(src, { headers: { Accept: "application/json" } }).then((answer) => {
      if (!answer.ok) throw new Error(`${src}: ${answer.status}`);
      return answer.json();
    });
    requests.set(src, request);
    setTimeout(() => requests.delete(src));
  }
  return requests.get(src);
}

class Chart extends HTMLElement {
  connectedCallback() {
    this.names = this.dataset.series.split(",");
    this.plotBox = this.querySelector(".chart-plot");
    this.note = this.querySelector("[data-note]");
    this.at = this.querySelector("[data-at]");
    this.labels = this.names.map((name) => this.querySelector(`[data-name="${CSS.escape(name)}"]`));
    this.log = this.dataset.log !== undefined;
    this.smoothing = Number(this.dataset.smooth ?? 0);
    this.by = "step"; // what the x axis shows: step | epoch | time
    this.zoom = null; // [from, to] in steps
    this.close = null; // exact points of what is zoomed into
    this.axis = new Axis();
    this.series = new Map(this.names.map((name) => [name, [[], []]]));
    this.stop = new AbortController();
    this.listen();
    this.load();
  }

  disconnectedCallback() {
    this.stop.abort();
    this.resizer.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  listen() {
    const { signal } = this.stop;
    const source = streamOf(this);
    for (const name of ["metric", "gpu"]) source.addEventListener(name, (event) => this.add(event), { signal });
    source.addEventListener("checkpoint", (event) => this.saved(payload(event)), { signal });
    source.addEventListener("reset", (event) => event.detail && this.load(), { signal });
    const redraw = () => this.build();
    document.addEventListener("themechange", redraw, { signal });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw, { signal });
    // One chart is turned to epochs or zoomed into: all of the same run follow.
    document.addEventListener("td-axis", (event) => event.detail.sync === this.dataset.sync && this.follow(event.detail), { signal });
    this.tool("smooth", "input", (box) => this.set("smoothing", Number(box.value)));
    this.tool("log", "change", (box) => this.set("log", box.checked));
    this.tool("x", "change", (box) => this.tell({ by: box.value }));
    this.tool("reset", "click", () => this.tell({ zoom: null }));
    this.tool("png", "click", () => this.plot && picture(this.plot, this.dataset.title, this));
    this.plotBox.addEventListener("keydown", (event) => this.key(event), { signal });
    this.plotBox.addEventListener("mousedown", (event) => event.shiftKey && this.drag(event), { signal, capture: true });
    this.resizer = new ResizeObserver(() => this.plot?.setSize(this.size()));
    this.resizer.observe(this.plotBox);
  }

  tool(name, when, does) {
    const box = this.querySelector(`[data-${name}-tool]`);
    box?.addEventListener(when, () => does(box), { signal: this.stop.signal });
  }

  set(what, value) {
    this[what] = value;
    this.build();
  }

  tell(detail) {
    if (!this.dataset.sync) return this.follow(detail);
    document.dispatchEvent(new CustomEvent("td-axis", { detail: { ...detail, sync: this.dataset.sync } }));
  }

  follow({ by = this.by, zoom = this.zoom }) {
    const turned = by !== this.by;
    Object.assign(this, { by, zoom, close: null });
    const choice = this.querySelector("[data-x-tool]");
    if (choice) choice.value = by;
    const reset = this.querySelector("[data-reset-tool]");
    if (reset) reset.hidden = !zoom;
    clearTimeout(this.settling);
    if (zoom && this.thinned) this.settling = setTimeout(() => this.look(), SETTLED_MS);
    if (turned || !this.plot) this.build();
    else this.draw();
  }

  /** Ask for every point of what is zoomed into. */
  async look() {
    const zoom = this.zoom;
    const [start, stop] = [Math.max(0, Math.floor(zoom[0])), Math.max(0, Math.ceil(zoom[1]))];
    const answer = await fetchSeries(`${this.dataset.src}?start=${start}&stop=${stop}`).catch(() => null);
    if (!answer || zoom !== this.zoom || !this.isConnected) return;
    this.close = new Map(this.names.map((name) => [name, answer.series[name] ?? [[], []]]));
    this.draw();
  }

  /** Arrows move along the axis, + and - change how much of it is seen, 0 shows all. */
  key(event) {
    const move = { ArrowLeft: -0.2, ArrowRight: 0.2 }[event.key] ?? 0;
    const grow = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
    if (event.key === "0") this.tell({ zoom: null });
    else if (move || grow) this.pan(move, grow ?? 1);
    else return;
    event.preventDefault();
  }

  pan(move, grow = 1) {
    const [first, last] = this.reach();
    const [from, to] = this.zoom ?? [first, last];
    const wide = Math.min(last - first, (to - from) * grow);
    const middle = (from + to) / 2 + move * (to - from);
    const low = Math.max(first, Math.min(last - wide, middle - wide / 2));
    this.tell({ zoom: wide >= last - first ? null : [low, low + wide] });
  }

  /** With shift held the mouse moves the window that is seen. */
  drag(event) {
    if (!this.zoom) return;
    event.stopPropagation();
    const { signal } = this.stop;
    let at = event.clientX;
    const move = (moved) => {
      this.pan((at - moved.clientX) / this.plotBox.clientWidth);
      at = moved.clientX;
    };
    document.addEventListener("mousemove", move, { signal });
    document.addEventListener("mouseup", () => document.removeEventListener("mousemove", move), { once: true, signal });
  }

  /** First and last step there are. */
  reach() {
    const all = [...this.series.values()].map(([steps]) => steps).filter((steps) => steps.length);
    return [Math.min(...all.map((steps) => steps[0])), Math.max(...all.map((steps) => steps.at(-1)))];
  }

  async load() {
    const early = (this.early = []); // events that come before the answer: it may be older than they are
    try {
      const answer = await fetchSeries(this.dataset.src);
      if (!this.isConnected || early !== this.early) return;
      this.seq = answer.seq ?? 0;
      this.thinned = answer.thinned ?? false;
      this.axis = new Axis(answer.axis);
      for (const option of this.querySelectorAll("[data-x-tool] option")) option.hidden = !this.axis.knows(option.value);
      for (const name of this.names) {
        const [steps, values] = answer.series[name] ?? [[], []];
        this.series.set(name, [[...steps], [...values]]);
      }
      this.close = null;
      this.build();
      if (this.zoom && this.thinned) this.look();
    } catch {
      if (early !== this.early) return;
      this.note.hidden = false;
      this.note.textContent = this.note.dataset.error;
    }
    this.early = null;
    for (const event of early) this.add(event);
  }

  add(event) {
    if (this.early) return void this.early.push(event);
    const data = payload(event);
    if (!data?.values || (event.detail.id && Number(event.detail.id) <= this.seq)) return;
    if (event.type === "metric") this.axis.hear(data);
    for (const name of this.names) if (name in data.values) this.push(name, data.step, data.values[name]);
    if ((this.series.get(this.names[0])?.[0].length ?? 0) > MAX_POINTS) this.load();
    else this.redrawSoon();
  }

  saved(data) {
    this.axis.checkpoint(data?.step);
    this.redrawSoon();
  }

  push(name, step, value) {
    this.put(this.series.get(name), step, value);
    if (this.close && step >= this.zoom[0] && step <= this.zoom[1]) this.put(this.close.get(name), step, value);
  }

  put([steps, values], step, value) {
    while (steps.length && steps.at(-1) >= step) {
      steps.pop();
      values.pop();
    }
    steps.push(step);
    values.push(value);
  }

  redrawSoon() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.isConnected) return;
      if (this.plot) {
        this.draw();
        this.settle();
      } else this.build();
    });
  }

  /** New data, or another part of them, in the plot that is there. */
  draw() {
    this.plot.setData(this.table(), false);
    const [first, last] = this.zoom ?? this.reach();
    const place = (step) => this.axis.at(step, this.by);
    this.plot.setScale("x", { min: place(first), max: place(last === first ? first + 1 : last) });
  }

  /** uPlot's aligned table: places on the axis, then per name its line, and with smoothing its raw line too. */
  table() {
    const parts = this.names.flatMap((name) => {
      const [steps, values] = (this.close ?? this.series).get(name);
      const places = this.by === "step" ? steps : steps.map((step) => this.axis.at(step, this.by));
      return this.smoothing ? [[places, smooth(values, this.smoothing)], [places, values]] : [[places, values]];
    });
    return uPlot.join(parts);
  }

  size() {
    return { width: Math.max(120, this.plotBox.clientWidth), height: this.plotBox.clientHeight };
  }

  lines() {
    return this.names.flatMap((name, index) => {
      const swatch = getComputedStyle(this.labels[index].querySelector(".swatch"));
      const dash = { dashed: [6, 4], dotted: [2, 3] }[swatch.borderTopStyle];
      const few = () => this.series.get(name)[0].length < FEW;
      const line = { stroke: swatch.color, width: 1.75, dash, spanGaps: true, points: { show: few, size: 5, fill: swatch.color } };
      const raw = { stroke: faint(swatch.color), width: 1, spanGaps: true, points: { show: false } };
      return this.smoothing ? [line, raw] : [line];
    });
  }

  axes() {
    const style = getComputedStyle(this.plotBox);
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const common = { stroke: style.color, font, ticks: { show: false } };
    const grid = { stroke: style.borderTopColor, width: 1 };
    const step = (tick) => {
      if (this.by === "time") return formats.duration(tick);
      if (this.by === "epoch") return Number(tick.toFixed(3)).toString();
      return Number.isInteger(tick) ? formats.number(tick) : "";
    };
    const each = (write) => (_, ticks) => ticks.map((tick) => (tick === null ? null : write(tick)));
    return [
      { ...common, grid: { show: false }, size: 28, space: 72, values: each(step) },
      { ...common, grid, size: 56, space: 40, gap: 6, values: each((tick) => this.short(tick)) },
    ];
  }

  build() {
    this.plot?.destroy();
    this.plot = null;
    const empty = [...this.series.values()].every(([steps]) => steps.length === 0);
    this.note.hidden = !empty;
    if (empty) return void (this.note.textContent = this.note.dataset.empty);
    const options = {
      ...this.size(),
      series: [{}, ...this.lines()],
      axes: this.axes(),
      scales: { x: { time: false, auto: false }, y: { distr: this.log ? 3 : 1 } },
      legend: { show: false },
      cursor: {
        y: false,
        points: { size: 7 },
        drag: { setScale: false, x: true, y: false },
        bind: { dblclick: () => () => this.tell({ zoom: null }) },
        sync: this.dataset.sync ? { key: this.dataset.sync } : undefined,
      },
      padding: [8, 18, 0, 0],
      hooks: { setCursor: [() => this.legend()], setSelect: [(plot) => this.selected(plot)], draw: [(plot) => this.marks(plot)] },
    };
    this.plot = new uPlot(options, this.table(), this.plotBox);
    this.draw();
    this.settle();
  }

  /** A part of the axis was drawn over with the mouse. */
  selected(plot) {
    const { left, width } = plot.select;
    if (width < 4 || !this.plot) return;
    const [low, high] = [left, left + width].map((x) => this.axis.step(plot.posToVal(x, "x"), this.by));
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.tell({ zoom: [low, Math.max(high, low + 1)] });
  }

  marks(plot) {
    const place = (step) => this.axis.at(step, this.by);
    const colour = getComputedStyle(this.labels.at(-1).querySelector(".swatch")).color;
    const [steps, values] = this.series.get("eval_loss") ?? [[], []];
    const least = values.indexOf(Math.min(...values));
    const best = values.length > 1 ? [place(steps[least]), values[least]] : null;
    const { checkpoints, restarts } = this.axis.found;
    mark(plot, { checkpoints: checkpoints.map(place), restarts: restarts.map(place), best, colour, text: getComputedStyle(this.plotBox).color });
  }

  /** After new data: legend and the sentence for screen readers. */
  settle() {
    this.legend();
    const said = this.names.map((name, index) => `${this.labels[index].textContent.trim()}`).join(", ");
    const last = Math.max(...[...this.series.values()].map(([steps]) => steps.at(-1) ?? 0));
    const text = this.dataset.summary.replace("{title}", this.dataset.title).replace("{values}", said).replace("{step}", last);
    this.plotBox.setAttribute("aria-label", text);
  }

  /** Values under the cursor, or the last ones. */
  legend() {
    const at = this.plot?.cursor.idx ?? null;
    const step = at === null ? Infinity : this.axis.step(this.plot.data[0][at], this.by);
    this.at.textContent = at === null ? "" : this.at.dataset.pattern.replace("{step}", formats.number(step));
    this.names.forEach((name, index) => {
      const [steps, values] = (this.close ?? this.series).get(name);
      let i = steps.length - 1;
      while (i >= 0 && steps[i] > step + 0.5) i -= 1;
      this.labels[index].querySelector("b").textContent = i < 0 ? "–" : this.format(values[i]);
    });
  }

  /** A tick of the y axis. */
  short(value) {
    if (this.dataset.format === "filesize" || this.dataset.format === "percent") return formats[this.dataset.format](value);
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 0.001 || size >= 1e9) return value.toExponential().replace("+", "");
    return size < 1000 ? String(Number(value.toPrecision(5))) : value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 2 });
  }

  format(value) {
    if (value === 0) return "0";
    if (this.dataset.format) return formats[this.dataset.format](value);
    return Math.abs(value) < 0.001 ? value.toExponential(2) : formats.loss(value);
  }
}

customElements.define("td-chart", Chart);
